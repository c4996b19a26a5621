"""Errors in the words of a workflow: the command line's flags are inputs there."""

from __future__ import annotations

import re

from flyte_deploy.action.inputs import INPUTS
from flyte_deploy.errors import DeployError

_SPELLED = {
    spelling: name for name, option in INPUTS.items() for spelling in (f"--{name}", *option.other)
} | {option.flag: name for name, option in INPUTS.items() if option.argument}
_ANY = "|".join(sorted(map(re.escape, _SPELLED), key=len, reverse=True))
_FLAG = re.compile(rf"(?:\b(?:flag|argument) )?(?<![\w/-])({_ANY})(?![\w-])")


def as_inputs(text: str) -> str:
    """The text with ``input `name``` where the command line would say ``--name``."""
    return _FLAG.sub(lambda found: f"input `{_SPELLED[found[1]]}`", text)


def in_words_of_a_workflow(error: DeployError) -> DeployError:
    """The same error for somebody who writes a workflow."""
    return DeployError(
        as_inputs(error.what),
        where=as_inputs(error.where) if error.where else None,
        mend=as_inputs(error.mend) if error.mend else None,
        usage=error.usage,
        details=tuple(as_inputs(line) for line in error.details),
    )
