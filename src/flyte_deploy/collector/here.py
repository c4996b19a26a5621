"""The collector's functions in this interpreter, for environments that exist already.

The code is the caller's own: nothing is isolated, and nothing has to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from flyte_deploy.collector.inside import main, sdk
from flyte_deploy.collector.message import Answer, Collected, Failure, Line
from flyte_deploy.collector.run import Request, checked, explain_failure
from flyte_deploy.model import Environment


def collect_here(request: Request, environments: Sequence[Any]) -> Collected:
    """Describe and serialize environments of this process.

    Args:
        request: what a run of the collector would be asked, without files.
        environments: the ones to deploy; what they depend on is found through them.

    Raises:
        DeployError: as a run of the collector does.
    """
    document = request.document()
    described: list[Environment] = []

    def emit(emitted: dict[str, Any]) -> None:
        line = msgspec.convert(emitted, Line)
        if line.environment is not None:
            described.append(line.environment)

    def run() -> Answer:
        version = sdk.sdk_version()
        given = list(environments)
        answer = main.finish(document, version, given, given, sdk.Declarations(), [], emit)
        return msgspec.convert(answer, Answer)

    try:
        # A thread of its own, since the caller may be inside an event loop and serializing needs one too.
        with ThreadPoolExecutor(max_workers=1) as executor:
            answer = executor.submit(run).result()
    except sdk.UnusableError as error:
        raise explain_failure(
            Failure(code=error.code, text=error.text), request.root, "this interpreter", ()
        ) from None
    return checked(answer, tuple(described))
