"""Whoever calls the control plane, as headers of its calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from flyte_deploy.controlplane.oauth import Provider, lifetime_of, request_token
from flyte_deploy.controlplane.tokens import Token, Tokens, run_command
from flyte_deploy.errors import DeployError
from flyte_deploy.login import ClientSecret, Command, GitHub, Login, Nobody
from flyte_deploy.tls import Network

PROXY_HEADER = "proxy-authorization"


@dataclass(frozen=True)
class Shown:
    """What a call showed: its headers, and the tokens in them."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    token: Token | None = None
    proxy: Token | None = None

    def accepted(self) -> None:
        """Told that the call got past the login."""
        for token in (self.token, self.proxy):
            if token is not None:
                token.good = True


class Bearer:
    """Gives calls what they show, the same to all of them. May be asked by several threads.

    Args:
        login: how to log in.
        host: that of the control plane.
        network: how its token endpoint is reached.
        provider: asks the control plane for its identity provider; None where it names none.
    """

    def __init__(
        self, login: Login, host: str, network: Network, provider: Callable[[Bearer], Provider | None]
    ) -> None:
        self._login = login
        self._host = host
        self._network = network
        self._ask = provider
        self._lock = threading.Lock()
        self._provider: Provider | None = None
        self._asked = False
        self._tokens = None if isinstance(login.way, Nobody) else Tokens(self._issue)
        self._proxy = Tokens(lambda: _from_command(login.proxy, "the proxy command")) if login.proxy else None

    def show(self) -> Shown:
        """What a call is to show now.

        Raises:
            DeployError: where there is no token to be had.
        """
        passed = self.show_proxy()
        if self._tokens is None or self._names_nobody():
            return passed
        token = self._tokens.current()
        provider = self._known()
        header = provider.header if provider else "authorization"
        return Shown(((header, f"Bearer {token.value}"), *passed.headers), token, passed.proxy)

    def show_proxy(self) -> Shown:
        """What a call shows that is no login: the token of the proxy, if there is one."""
        if self._proxy is None:
            return Shown()
        token = self._proxy.current()
        return Shown(((PROXY_HEADER, f"Bearer {token.value}"),), None, token)

    def refused(self, shown: Shown) -> bool:
        """Told that a call was not let in: whether it may be tried again, with another token.

        Raises:
            DeployError: where there is no other to be had.
        """
        again = False
        for tokens, token in ((self._tokens, shown.token), (self._proxy, shown.proxy)):
            if tokens is not None and token is not None:
                again = tokens.refused(token) or again
        return again

    def error(self, doing: str, where: str, said: str) -> DeployError:
        """The error for a call that is not let in."""
        way = self._login.way
        if isinstance(way, Nobody):
            return DeployError(
                f"{doing} failed: the control plane wants a login: {said}",
                where=f"{where}, {way.source}" if way.source else where,
                details=("looked at, in this order:", *(f"  {line}" for line in self._login.looked_at)),
                mend=way.mend(),
            )
        if self._names_nobody():
            return DeployError(
                f"{doing} failed: the control plane wants a login, but names no identity provider: {said}",
                where=where,
                mend="Its AuthMetadataService has to name a token endpoint; or use an external command.",
            )
        mend = "It was issued for this; whoever runs the control plane has to accept it."
        if isinstance(way, Command):
            mend = f"It came from the command of {way.source}. Look at its claims, and at the clocks."
        return DeployError(
            f"{doing} failed: the control plane does not accept the token: {said}", where=where, mend=mend
        )

    def _names_nobody(self) -> bool:
        return isinstance(self._login.way, (ClientSecret, GitHub)) and self._known() is None

    def _known(self) -> Provider | None:
        with self._lock:
            if not self._asked:
                try:
                    self._provider = self._ask(self)
                except DeployError:
                    # A command's token needs nothing of it but the header's name.
                    if not isinstance(self._login.way, Command):
                        raise
                self._asked = True
            return self._provider

    def _issue(self) -> Token:
        way = self._login.way
        if isinstance(way, Command):
            return _from_command(way, "the external command")
        assert isinstance(way, (ClientSecret, GitHub))
        provider = self._known()
        assert provider is not None
        # The proxy's token is for what stands behind the proxy, and nobody else.
        behind = urlsplit(provider.token_endpoint).hostname == self._host
        headers = dict(self.show_proxy().headers) if behind else {}
        return request_token(way, provider, self._login.scopes, self._network, headers)


def _from_command(command: Command | None, what: str) -> Token:
    assert command is not None
    value = run_command(command, what)
    return Token(value, lifetime_of(value))
