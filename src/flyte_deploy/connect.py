"""Reaching the control plane, in the background while the project's code is loaded."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING

from flyte_deploy.errors import DeployError
from flyte_deploy.model import Progress, Target
from flyte_deploy.settings import EMBEDDED, Settings
from flyte_deploy.tls import Network

if TYPE_CHECKING:
    from flyte_deploy.clock import Listen
    from flyte_deploy.controlplane import ControlPlane
    from flyte_deploy.login import Login


@contextmanager
def connection(
    settings: Settings, listen: Listen | None = None, *, embedded_later: bool = False
) -> Iterator[Callable[[], ControlPlane | None]]:
    """Open the control plane of the settings, and check that project and domain exist.

    Gives a function that waits until that is done: it returns the control plane, None where no endpoint was
    named, or raises what went wrong. Only reads are sent. The embedded control plane, if that is the
    endpoint, runs as long as the context does; with `embedded_later` it begins when the function is called,
    so that code that is not trusted meets nothing of ours that listens.
    """
    if not settings.endpoint:
        yield lambda: None
        return
    login = _login(settings, listen or (lambda _: None))
    opening = _Opening(settings, login)
    if not (embedded_later and settings.endpoint == EMBEDDED):
        opening.start()
    try:
        yield opening.wait
    finally:
        opening.close()


def _network(settings: Settings) -> Network:
    # As for the SDK, an authority that is named is looked at.
    verify = settings.ca_cert is not None or not settings.insecure_skip_verify
    return Network(settings.ca_cert, verify, settings.http_proxy)


def _plaintext(settings: Settings) -> bool:
    scheme = settings.endpoint.partition("://")[0]
    return scheme == "http" or (settings.insecure and scheme != "https")


def _login(settings: Settings, listen: Listen) -> Login | None:
    """How to log in; None for plaintext. What is careless is said.

    Raises:
        DeployError: where something is missing for it.
    """
    if settings.endpoint == "embedded":
        return None
    from flyte_deploy.login import choose

    login = choose(settings, os.environ)
    if _plaintext(settings):
        if login.has_credentials:
            text = (
                f"nobody logs in to {settings.endpoint}: it is spoken to in plaintext, where credentials "
                "would be readable; those that are set are not used"
            )
            listen(Progress("warning", text))
        return None
    if not _network(settings).verify:
        text = (
            f"ANY certificate is taken for {settings.endpoint} (--insecure-skip-verify): whoever is on the "
            "way can read and change everything, credentials too; --ca-cert trusts the authority instead"
        )
        listen(Progress("warning", text))
    return login


class _Opening:
    """A thread that opens the control plane. It is not waited for where nobody asks for its result."""

    def __init__(self, settings: Settings, login: Login | None) -> None:
        self._settings = settings
        self._login = login
        self._resources = ExitStack()
        self._plane: ControlPlane | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="connect", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> ControlPlane:
        if self._thread.ident is None:
            self.start()
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._plane is not None
        return self._plane

    def close(self) -> None:
        # A server that does not answer must not hold up the report of an error elsewhere.
        if self._thread.ident is None:
            return
        self._thread.join(timeout=0 if self._settings.endpoint != EMBEDDED else 5)
        if not self._thread.is_alive():
            self._resources.close()

    def _run(self) -> None:
        try:
            self._plane = self._open()
            # What comes next is imported while the collector keeps the other core busy.
            for module in ("compare", "carry_out", "stores.signed_url"):
                import_module(f"flyte_deploy.{module}")
            self._prepare_store()
        except BaseException as error:  # raised to whoever waits
            self._error = error

    def _prepare_store(self) -> None:
        """Load what a cloud's store needs, half a second's work; what is wrong is said when it is used."""
        kind = self._settings.bundle_store.partition("://")[0]
        if kind in ("s3", "gs"):
            from flyte_deploy.cloud import CloudSettings
            from flyte_deploy.stores import open_store

            with suppress(DeployError):
                open_store(self._settings.bundle_store, uploads=None, cloud=CloudSettings.of(self._settings))

    def _open(self) -> ControlPlane:
        # What goes wrong is said by us; the library would write lines of its own between ours.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from flyte_deploy.controlplane import ControlPlane, Endpoint

        settings = self._settings
        address, insecure = settings.endpoint, settings.insecure
        if address == EMBEDDED:
            from flyte_deploy.embedded import running

            address = self._resources.enter_context(running(data=settings.data)).endpoint
            insecure = True
        plane = self._resources.enter_context(
            ControlPlane(
                Endpoint.parse(address, insecure),
                concurrency=settings.concurrency,
                network=_network(settings),
                login=self._login,
            )
        )
        plane.check_target(Target(settings.project, settings.domain, settings.org))
        return plane
