"""What the installed Flyte SDK offers: the one place that knows how its versions differ."""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
from pathlib import Path
from typing import Any

VERSION = "<<flyte-deploy:version>>"
PROJECT = "<<flyte-deploy:project>>"
DOMAIN = "<<flyte-deploy:domain>>"
ORG = "<<flyte-deploy:org>>"
BUNDLE = "<<flyte-deploy:bundle>>"
BUNDLE_DIGEST = "<<flyte-deploy:bundle-digest>>"
IMAGE_CACHE = "<<flyte-deploy:image-cache>>"
IMAGE = "<<flyte-deploy:image:{}>>"
# It has to look like an address to the SDK, which uploads what does not.
FILE = "<<flyte-deploy:file://{}>>"
PLACEHOLDERS = (VERSION, PROJECT, DOMAIN, ORG, BUNDLE, BUNDLE_DIGEST, IMAGE_CACHE, IMAGE, FILE)


class UnusableError(Exception):
    """The interpreter cannot collect: `code` says why (``no-flyte``, ``flyte-1``, ``no-boundary``)."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def sdk_version() -> str:
    """The version of the installed SDK.

    Raises:
        UnusableError: where there is none, or one without the boundary that the collector needs.
    """
    try:
        import flyte
    except ModuleNotFoundError as error:
        if error.name == "flyte":
            raise UnusableError("no-flyte", str(error)) from error
        raise
    if not hasattr(flyte, "TaskEnvironment"):
        raise UnusableError("flyte-1", f"the module at {getattr(flyte, '__file__', '?')} is another one")
    try:
        from flyte._internal.runtime.task_serde import translate_task_to_wire  # noqa: F401
        from flyte.models import CodeBundle, SerializationContext  # noqa: F401
    except ImportError as error:
        raise UnusableError("no-boundary", str(error)) from error
    return str(getattr(flyte, "__version__", "unknown"))


def initialize(request: dict[str, Any]) -> None:
    """Give user code the configuration that it may read while it is imported, without a client.

    The SDK appends the root to `sys.path` here, as it does for its own command line.
    """
    import flyte

    wanted: dict[str, Any] = {
        "org": request["org"] or None,
        "project": request["project"] or None,
        "domain": request["domain"] or None,
        "root_dir": Path(request["root"]),
        "images": dict(request["images"]),
        "image_registry": request["image_registry"] or None,
        "image_builder": request["image_builder"] or "local",
        "sync_local_sys_paths": request["sync_local_sys_paths"],
    }
    init = flyte.init
    known = inspect.signature(getattr(init, "fn", init)).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        wanted = {name: value for name, value in wanted.items() if name in known}
    init(**wanted)


def registry() -> list[Any]:
    """All environments created so far, in order."""
    import flyte

    module = sys.modules.get("flyte._environment")
    listing = getattr(module, "list_loaded_environments", None)
    if listing is None:
        raise UnusableError("no-boundary", f"flyte {flyte.__version__} keeps no list of its environments")
    return list(listing())


def environment_class() -> type:
    """The class of all environments."""
    import flyte

    cls: type = flyte.Environment
    return cls


def package_folder() -> str:
    """The folder of the installed SDK, with a separator at its end."""
    import flyte

    return os.path.join(os.path.dirname(os.path.abspath(flyte.__file__ or "")), "")


class Declarations:
    """Where environments were created: the first frame outside the SDK, for each of them.

    The SDK looks for the declaring file by name and errs below a folder called ``flyte``; the frame's own
    path compared with the SDK's folder does not.
    """

    def __init__(self) -> None:
        self._places: dict[int, tuple[str, int]] = {}

    def watch(self) -> None:
        """Note the place of every environment that is created from now on."""
        cls = environment_class()
        original = cls.__post_init__  # type: ignore[attr-defined]
        # Cloning an environment goes through the standard library.
        inside = (package_folder(), os.path.abspath(dataclasses.__file__), "<")
        places = self._places

        def __post_init__(environment: Any) -> None:  # noqa: N807
            frame = inspect.currentframe()
            frame = frame.f_back if frame else None
            while frame is not None:
                name = frame.f_code.co_filename
                if not name.startswith(inside):
                    places[id(environment)] = (os.path.abspath(name), frame.f_lineno)
                    break
                frame = frame.f_back
            original(environment)
            if id(environment) in places and hasattr(environment, "_declaring_file"):
                environment._declaring_file = places[id(environment)][0]

        cls.__post_init__ = __post_init__  # type: ignore[attr-defined]

    def place(self, environment: Any) -> tuple[str, int]:
        """The file and line that created the environment; the SDK's own guess and 0 where nobody watched."""
        known = self._places.get(id(environment))
        if known is not None:
            return known
        return (str(getattr(environment, "_declaring_file", None) or ""), 0)
