"""The line to a control plane: gRPC, or Connect over HTTP where that does not come through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from flyte_deploy.controlplane.bearer import Shown
from flyte_deploy.controlplane.channel import Endpoint, open_channel, speaks_grpc
from flyte_deploy.tls import Network


class Line:
    """A channel of gRPC, or in its place one of Connect.

    Args:
        endpoint: where to.
        network: whom to trust and which way to go.
    """

    def __init__(self, endpoint: Endpoint, network: Network) -> None:
        self.endpoint = endpoint
        self.network = network
        self.over_http = not speaks_grpc(endpoint, network)
        self._open: list[Any] = []
        self.channel: Any = self._connect() if self.over_http else self._grpc()

    def switch(self) -> None:
        """Go on over Connect. Calls under way end as they would."""
        if not self.over_http:
            self.channel = self._connect()
            self.over_http = True

    def probe(self, seconds: float) -> bool:
        """Whether the server answers Connect's calls, whatever it says to them."""
        from flyte_deploy.controlplane.connect_channel import ConnectChannel

        channel = ConnectChannel(self.endpoint, self.network)
        try:
            return channel.answers(seconds)
        finally:
            channel.close()

    def close(self) -> None:
        """End it; calls in flight are cancelled."""
        for channel in self._open:
            channel.close()

    def _grpc(self) -> grpc.Channel:
        channel = open_channel(self.endpoint, self.network)
        self._open.append(channel)
        return channel

    def _connect(self) -> Any:
        from flyte_deploy.controlplane.connect_channel import ConnectChannel

        channel = ConnectChannel(self.endpoint, self.network)
        self._open.append(channel)
        return channel


class Caller:
    """The line as the generated stubs take it: a channel whose calls show who makes them.

    Args:
        line: where to.
        show: gives what a call shows that does not bring it along.
    """

    def __init__(self, line: Line, show: Callable[[], Shown]) -> None:
        self._line = line
        self._show = show

    def unary_unary(self, path: str, *arguments: Any, **options: Any) -> Method:
        """As `grpc.Channel.unary_unary`."""
        return self._method(lambda channel: channel.unary_unary(path, *arguments, **options))

    def unary_stream(self, path: str, *arguments: Any, **options: Any) -> Method:
        """As `grpc.Channel.unary_stream`."""
        return self._method(lambda channel: channel.unary_stream(path, *arguments, **options))

    def stream_unary(self, path: str, *arguments: Any, **options: Any) -> Method:
        """As `grpc.Channel.stream_unary`; over Connect it cannot be called."""
        return self._method(lambda channel: channel.stream_unary(path, *arguments, **options))

    def stream_stream(self, path: str, *arguments: Any, **options: Any) -> Method:
        """As `grpc.Channel.stream_stream`; over Connect it cannot be called."""
        return self._method(lambda channel: channel.stream_stream(path, *arguments, **options))

    def _method(self, of: Callable[[Any], Any]) -> Method:
        return Method(self._line, self._show, of)


class Method:
    """A method of the API on whatever channel the line has now."""

    def __init__(self, line: Line, show: Callable[[], Shown], of: Callable[[Any], Any]) -> None:
        self._line = line
        self._show = show
        self._of = of
        self._made: tuple[Any, Any] = (None, None)

    def future(self, request: Any, timeout: float | None = None, metadata: Any = None) -> Any:
        """Send a request; gives a future as grpc's.

        Raises:
            DeployError: where there is no token to be had.
        """
        shown = self._show().headers if metadata is None else metadata
        return self._now().future(request, timeout=timeout, metadata=shown)

    def __call__(self, request: Any, timeout: float | None = None, metadata: Any = None) -> Any:
        """Send a request; gives the answer, or the answers one after the other.

        Raises:
            DeployError: where there is no token to be had.
        """
        shown = self._show().headers if metadata is None else metadata
        return self._now()(request, timeout=timeout, metadata=shown)

    def _now(self) -> Any:
        channel, method = self._made
        if channel is not self._line.channel:
            channel = self._line.channel
            method = self._of(channel)
            self._made = channel, method
        return method


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """The status that a call ended with."""
    code = getattr(error, "code", None)
    found: grpc.StatusCode = code() if callable(code) else grpc.StatusCode.UNKNOWN
    return found
