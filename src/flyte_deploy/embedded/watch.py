"""What goes by: the call log, and the faults that a test puts in the way."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from flyte_deploy.embedded.common import Context
from flyte_deploy.embedded.database import Database
from flyte_deploy.embedded.rules import Rules

READS = frozenset(
    {
        # It signs an address; nothing is there before the PUT.
        "CreateUploadLocation",
        "GET",
        "GetActionData",
        "GetActionDetails",
        "GetImage",
        "GetOAuth2Metadata",
        "GetProject",
        "GetPublicClientConfig",
        "GetRunDetails",
        "GetTaskDetails",
        "GetTriggerDetails",
        "ListProjects",
        "ListTasks",
        "ListTriggers",
        "ListVersions",
        "SelectCluster",
        "TailLogs",
        "UserInfo",
        "WatchActionDetails",
    }
)
"""The methods of the call log that change nothing."""

logger = logging.getLogger("flyte_deploy.embedded")

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, for tests.

    Args:
        method: the method it happens to, named as in the call log.
        nth: the first call that it happens to, counted from 1 since the server started.
        times: how many calls in a row it happens to.
        code: the status that is answered, such as ``unavailable``; empty for none. To a PUT, every code is
            the HTTP status 503.
        when: ``before`` for a call that is not applied, ``after`` for one that is applied all the same; a
            stream breaks after its first message then.
        delay: seconds to wait first.
        drop_after: a PUT's connection is closed after so many bytes of its body.
    """

    method: str
    nth: int = 1
    times: int = 1
    code: str = ""
    when: Literal["before", "after"] = "before"
    delay: float = 0.0
    drop_after: int | None = None


class Watch:
    """Writes the call log, holds requests to the rules, and lets faults happen.

    Args:
        database: where the log is.
        rules: the rules.
        faults: what is to go wrong.
        stop: set when the server is to end: no fault goes on then.
    """

    def __init__(
        self, database: Database, rules: Rules, faults: Sequence[Fault], stop: asyncio.Event
    ) -> None:
        self._database = database
        self._stop = stop
        self._rules = rules
        self._faults = tuple(faults)
        self._counts: Counter[str] = Counter()

    def count(self, method: str) -> Fault | None:
        """Count a call, and return the fault that is to happen to it."""
        if not self._faults:
            return None
        self._counts[method] += 1
        count = self._counts[method]
        for fault in self._faults:
            if fault.method == method and fault.nth <= count < fault.nth + fault.times:
                return fault
        return None

    async def pause(self, fault: Fault) -> None:
        """Wait as long as a fault says, or until the server is to end."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stop.wait(), fault.delay)

    async def intercept_unary(
        self,
        call_next: Callable[[_Request, Context], Awaitable[_Response]],
        request: _Request,
        ctx: Context,
    ) -> _Response:
        """Around every call of the API."""
        method = ctx.method().name
        fault = self.count(method)
        try:
            if fault is not None:
                await self.pause(fault)
                _fail(fault, "before")
            self._rules.check(request)  # type: ignore[arg-type]  # every message of the API is one of protobuf
            response = await call_next(request, ctx)
            if fault is not None:
                _fail(fault, "after")
        except ConnectError as error:
            self._database.log(method, error.code.value)
            raise
        except Exception as error:
            logger.exception("%s failed", method)
            self._database.log(method, Code.INTERNAL.value)
            raise ConnectError(Code.INTERNAL, f"{type(error).__name__}: {error}") from error
        self._database.log(method, "ok")
        return response

    async def intercept_server_stream(
        self,
        call_next: Callable[[_Request, Context], AsyncIterator[_Response]],
        request: _Request,
        ctx: Context,
    ) -> AsyncIterator[_Response]:
        """Around every stream of the API; it is logged when it ends."""
        method = ctx.method().name
        fault = self.count(method)
        code = "canceled"
        try:
            if fault is not None:
                await self.pause(fault)
                _fail(fault, "before")
            async for response in call_next(request, ctx):
                yield response
                if fault is not None:
                    _fail(fault, "after")
            code = "ok"
        except ConnectError as error:
            code = error.code.value
            raise
        finally:
            self._database.log(method, code)


def _fail(fault: Fault, when: str) -> None:
    if fault.code and fault.when == when:
        raise ConnectError(Code(fault.code), f"a fault that the test asked for, {when} the call was applied")
