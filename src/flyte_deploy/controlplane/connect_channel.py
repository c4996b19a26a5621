"""Calls by the Connect protocol over HTTP/1.1, with the shape of grpc's, for ways that gRPC does not pass.

https://connectrpc.com/docs/protocol: unary calls are POSTs of the message; streams of answers are enveloped.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc

from flyte_deploy.controlplane.channel import Endpoint
from flyte_deploy.http import connections, shown
from flyte_deploy.tls import Network

Code = grpc.StatusCode
_CODES = {code.name.lower(): code for code in Code} | {"canceled": Code.CANCELLED}
_OF_STATUS = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    **dict.fromkeys((429, 502, 503, 504), Code.UNAVAILABLE),
}
_AT_ONCE = 32
_CONNECT = 10.0
_ASKED = "/flyteidl2.auth.AuthMetadataService/GetPublicClientConfig"


class CallFailed(grpc.RpcError):
    """A call that ended with a status other than OK."""

    def __init__(self, code: Code, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self._code = code
        self._details = details

    def code(self) -> Code:
        """The status."""
        return self._code

    def details(self) -> str:
        """What was said."""
        return self._details


class ConnectChannel:
    """A channel over HTTP. It connects when the first call is made."""

    def __init__(self, endpoint: Endpoint, network: Network) -> None:
        self._url = str(endpoint)
        self._pool = connections(self._url, network)
        self._pool.connection_pool_kw["maxsize"] = _AT_ONCE
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="connect-call")

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        **_options: Any,
    ) -> _Unary:
        """A method with one answer."""
        return _Unary(self, path, request_serializer, response_deserializer)

    def unary_stream(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        **_options: Any,
    ) -> Callable[..., Answers]:
        """A method with several answers."""

        def call(request: Any, timeout: float | None = None, metadata: Any = ()) -> Answers:
            message = request_serializer(request)
            enveloped = struct.pack(">BI", 0, len(message)) + message
            return Answers(
                lambda: self._post(path, enveloped, timeout, metadata, "application/connect+proto"),
                self._read,
                response_deserializer,
            )

        return call

    def stream_unary(self, *_arguments: Any, **_options: Any) -> Any:
        """No method that is used takes a stream."""
        return None

    stream_stream = stream_unary

    def answers(self, seconds: float) -> bool:
        """Whether the server speaks Connect: it answers a call, or refuses it as the protocol has it."""
        try:
            self.call(_ASKED, b"", seconds, ())
        except CallFailed as failed:
            return isinstance(failed.__cause__, _Spoken)
        return True

    def call(self, path: str, message: bytes, timeout: float | None, metadata: Any) -> bytes:
        """Make a unary call.

        Raises:
            CallFailed: with the status.
        """
        response = self._post(path, message, timeout, metadata, "application/proto")
        body = self._read(response)
        kind = response.headers.get("content-type", "")
        if response.status == 200 and kind.startswith("application/proto"):
            return body
        raise _failure(response.status, kind, body)

    def submit(self, work: Callable[[], None]) -> None:
        """Have work done on a thread of this channel."""
        self._threads.submit(work)

    def close(self) -> None:
        """End it; what has not begun is not begun any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.clear()

    def _post(self, path: str, message: bytes, timeout: float | None, metadata: Any, kind: str) -> Any:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        headers = {"Content-Type": kind, "Connect-Protocol-Version": "1", **dict(metadata)}
        if timeout is not None:
            headers["Connect-Timeout-Ms"] = str(int(timeout * 1000))
        try:
            return self._pool.request(
                "POST",
                f"{self._url}{path}",
                body=message,
                headers=headers,
                retries=False,
                redirect=False,
                timeout=Timeout(connect=min(_CONNECT, timeout or _CONNECT), read=timeout),
                preload_content=False,
            )
        except ReadTimeoutError:
            raise CallFailed(Code.DEADLINE_EXCEEDED, "no answer in time") from None
        except (HTTPError, OSError) as error:
            reason = getattr(error, "original_error", None) or getattr(error, "reason", None) or error
            raise CallFailed(Code.UNAVAILABLE, shown(str(reason), 300)) from None

    @staticmethod
    def _read(response: Any) -> bytes:
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        try:
            body: bytes = response.read(decode_content=True)
            response.release_conn()
        except ReadTimeoutError:
            raise CallFailed(Code.DEADLINE_EXCEEDED, "no answer in time") from None
        except (HTTPError, OSError) as error:
            raise CallFailed(Code.UNAVAILABLE, f"the connection broke ({type(error).__name__})") from None
        return body


class Answers:
    """The answers of a call with several, one after the other; the request is sent for the first."""

    def __init__(
        self, post: Callable[[], Any], read: Callable[[Any], bytes], deserialize: Callable[[bytes], Any]
    ) -> None:
        self._post = post
        self._read = read
        self._deserialize = deserialize
        self._response: Any = None
        self._cancelled = False

    def cancel(self) -> None:
        """End it; whoever waits for an answer gets an error."""
        self._cancelled = True
        response = self._response
        if response is not None:
            # Another thread may be reading: what it waits for is the socket's end.
            with suppress(OSError, AttributeError):
                response.connection.sock.shutdown(socket.SHUT_RDWR)

    def __iter__(self) -> Iterator[Any]:
        from urllib3.exceptions import HTTPError

        response = self._response = self._post()
        kind = response.headers.get("content-type", "")
        if response.status != 200 or not kind.startswith("application/connect+proto"):
            raise _failure(response.status, kind, self._read(response))
        try:
            while not self._cancelled:
                flags, length = struct.unpack(">BI", _exactly(response, 5))
                data = _exactly(response, length)
                if flags & 2:
                    end = json.loads(data or b"{}")
                    if end.get("error"):
                        raise _spoken(200, end["error"])
                    return
                yield self._deserialize(data)
        except (HTTPError, OSError, EOFError) as error:
            raise CallFailed(Code.UNAVAILABLE, f"the stream broke ({type(error).__name__})") from None
        finally:
            response.close()


class _Unary:
    """A method with one answer, as grpc has it."""

    def __init__(
        self,
        channel: ConnectChannel,
        path: str,
        serialize: Callable[[Any], bytes],
        deserialize: Callable[[bytes], Any],
    ) -> None:
        self._channel = channel
        self._path = path
        self._serialize = serialize
        self._deserialize = deserialize

    def future(self, request: Any, timeout: float | None = None, metadata: Any = ()) -> Future:
        message = self._serialize(request)
        made = Future()

        def work() -> None:
            try:
                answer = self._channel.call(self._path, message, timeout, metadata)
                made.end(Code.OK, "", self._deserialize(answer))
            except CallFailed as failed:
                made.end(failed.code(), failed.details(), None)
            except Exception as error:
                made.end(Code.INTERNAL, f"{type(error).__name__} in the answer", None)

        self._channel.submit(work)
        return made

    def __call__(self, request: Any, timeout: float | None = None, metadata: Any = ()) -> Any:
        answer = self._channel.call(self._path, self._serialize(request), timeout, metadata)
        return self._deserialize(answer)


class Future:
    """The end of a call, as far as `unary` asks for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._code, self._details = Code.UNKNOWN, ""
        self._answer: Any = None
        self._tell: list[Callable[[Any], object]] = []

    def end(self, code: Code, details: str, answer: Any) -> None:
        """Say how it ended; only the first word counts."""
        with self._lock:
            if self._done.is_set():
                return
            self._code, self._details, self._answer = code, details, answer
            self._done.set()
            tell = self._tell
        for each in tell:
            each(self)

    def add_done_callback(self, tell: Callable[[Any], object]) -> None:
        """Have `tell` called once it has ended."""
        with self._lock:
            if not self._done.is_set():
                self._tell.append(tell)
                return
        tell(self)

    def cancel(self) -> None:
        """Let nobody wait for it any more."""
        self.end(Code.CANCELLED, "cancelled", None)

    def code(self) -> Code:
        """The status; waits for it."""
        self._done.wait()
        return self._code

    def details(self) -> str:
        """What was said with the status."""
        self._done.wait()
        return self._details

    def result(self) -> Any:
        """The answer."""
        self._done.wait()
        if self._code is not Code.OK:
            raise CallFailed(self._code, self._details)
        return self._answer


class _Spoken(Exception):  # noqa: N818 - a mark: the failure is one in Connect's own words
    pass


def _failure(status: int, kind: str, body: bytes) -> CallFailed:
    try:
        found = json.loads(body)
        if isinstance(found, dict) and str(found.get("code")) in _CODES:
            return _spoken(status, found)
    except ValueError:
        pass
    page = " with an HTML page" if "html" in kind or body.lstrip()[:1] == b"<" else ""
    said = f"HTTP status {status}{page}"
    return CallFailed(_OF_STATUS.get(status, Code.UNKNOWN), said)


def _spoken(status: int, found: dict[str, Any]) -> CallFailed:
    code = _CODES.get(str(found.get("code")), _OF_STATUS.get(status, Code.UNKNOWN))
    failed = CallFailed(code, str(found.get("message") or ""))
    failed.__cause__ = _Spoken()
    return failed


def _exactly(response: Any, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = response.read(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data
