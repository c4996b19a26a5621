"""flyte-deploy: takes a Flyte 2 project from a commit to registered, runnable tasks.

`deploy` and `plan` are the engine for environments that exist in this process; the command line
``flyte-deploy`` is the same engine for files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyte_deploy.errors import DeployError

if TYPE_CHECKING:
    from flyte_deploy.api import deploy, plan

__all__ = ["DeployError", "__version__", "deploy", "plan"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Loaded when used: the command line imports this package before it knows what it is asked.
    if name in ("deploy", "plan"):
        from flyte_deploy import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
