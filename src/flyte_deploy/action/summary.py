"""The job summary."""

from __future__ import annotations

from collections.abc import Mapping

from flyte_deploy.errors import DeployError
from flyte_deploy.report.markdown import SUMMARY_LIMIT


def write(text: str, environ: Mapping[str, str]) -> None:
    """Append to the job's summary, as much as it holds; nothing where there is no file for it."""
    path = environ.get("GITHUB_STEP_SUMMARY", "")
    if not path:
        return
    data = text.encode()[:SUMMARY_LIMIT].decode(errors="ignore")
    try:
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"{data}\n")
    except OSError as error:
        raise DeployError(
            f"the job's summary cannot be written: {error.strerror}", where=f"GITHUB_STEP_SUMMARY, {path}"
        ) from None
