"""The server: one port for Connect, gRPC and the store, one process for a data folder."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from connectrpc.code import Code
from connectrpc.server import ConnectASGIApplication
from flyteidl2.auth import auth_service_connect, auth_service_pb2, identity_connect, identity_pb2
from flyteidl2.cluster import service_connect as cluster_connect
from flyteidl2.cluster import service_pb2 as cluster_pb2
from flyteidl2.dataproxy import dataproxy_service_connect, dataproxy_service_pb2
from flyteidl2.imagebuilder import service_connect as image_connect
from flyteidl2.imagebuilder import service_pb2 as image_pb2
from flyteidl2.project import project_service_connect, project_service_pb2
from flyteidl2.task import task_service_connect, task_service_pb2
from flyteidl2.trigger import trigger_service_connect, trigger_service_pb2
from flyteidl2.workflow import run_service_connect, run_service_pb2
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from flyte_deploy.embedded.builds import Runs, Worker
from flyte_deploy.embedded.database import (
    Call,
    Database,
    read_calls,
    read_deploy_requests,
    read_tasks,
)
from flyte_deploy.embedded.doors import LoginSide, Tls
from flyte_deploy.embedded.identity import AuthMetadataService, IdentityService
from flyte_deploy.embedded.projects import ProjectService, create_missing
from flyte_deploy.embedded.rules import Rules
from flyte_deploy.embedded.runs import ImageService, RunService, offer_builder
from flyte_deploy.embedded.tasks import TaskService
from flyte_deploy.embedded.triggers import TriggerService
from flyte_deploy.embedded.uploads import PREFIX, ClusterService, DataProxyService, Store
from flyte_deploy.embedded.watch import Fault, Watch
from flyte_deploy.errors import DeployError
from flyte_deploy.model import RegisteredTask

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

PROJECTS = ("flytesnacks",)
"""The projects that are there from the start when nothing is said."""

_GRACE = 2.0
"""Seconds that calls under way may take to end after the server was told to."""

_LOCK = "lock"
_FOREVER = 2**31
_Application = Callable[[Scope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]


class Embedded:
    """A control plane that runs in this process.

    Attributes:
        endpoint: where it listens, ``127.0.0.1:PORT``, without TLS.
        data: the folder that it keeps everything in.
    """

    def __init__(self, endpoint: str, data: Path, flush: Callable[[], None]) -> None:
        self.endpoint = endpoint
        self.data = data
        self._flush = flush

    def calls(self) -> list[Call]:
        """Every call that was answered, of earlier servers on the same folder too, oldest first."""
        self._flush()
        return read_calls(self.data)

    def deploy_requests(self) -> Iterator[bytes]:
        """The ``DeployTaskRequest`` of every registration, as it was sent, oldest first."""
        self._flush()
        return read_deploy_requests(self.data)

    def tasks(self) -> list[RegisteredTask]:
        """All versions of all tasks, in the order of their creation."""
        self._flush()
        return read_tasks(self.data)


def serve(
    host: str = "127.0.0.1",
    port: int = 8090,
    data: Path | None = None,
    projects: Sequence[str] = PROJECTS,
    on_ready: Callable[[str], None] = lambda _endpoint: None,
    worker: Worker | None = None,
) -> None:
    """Run a control plane until SIGINT or SIGTERM; call it in the main thread.

    Whoever reaches the port may do everything: there is no login.

    Args:
        host: the address to listen on.
        port: the port to listen on, 0 for a free one.
        data: the folder that it keeps everything in, made if it is not there; None for one that is removed
            at the end.
        projects: projects that are to be there.
        on_ready: called with ``host:port`` when clients may connect.
        worker: builds images; None where none are built.

    Raises:
        DeployError: the address cannot be listened on, the folder cannot be used or is another server's.
    """

    async def main(server: _Server) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        # What is loaded stays loaded: looking through it again and again takes a tenth of the time.
        gc.freeze()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await server.run(stop, lambda: on_ready(server.endpoint))

    with _opened(host, port, data, projects, (), worker) as server:
        asyncio.run(main(server))


@contextmanager
def running(
    data: Path | None = None,
    *,
    host: str = "127.0.0.1",
    projects: Sequence[str] = PROJECTS,
    faults: Sequence[Fault] | None = None,
    worker: Worker | None = None,
    login: LoginSide | None = None,
    tls: Tls | None = None,
) -> Iterator[Embedded]:
    """A control plane in a background thread, on a free port, for as long as the context lasts.

    Args:
        data: the folder that it keeps everything in, made if it is not there; None for one that is removed
            at the end.
        host: the address to listen on.
        projects: projects that are to be there.
        faults: what is to go wrong.
        worker: builds images; None where none are built.
        login: whom to let in; None for everybody.
        tls: what to speak TLS with; None for plaintext.

    Raises:
        DeployError: the folder cannot be used or is another server's.
    """
    with _opened(host, 0, data, projects, faults or (), worker, login, tls) as server:
        ready = threading.Event()
        failures: list[BaseException] = []
        handle: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

        async def main() -> None:
            stop = asyncio.Event()
            handle.append((asyncio.get_running_loop(), stop))
            await server.run(stop, ready.set)

        def thread() -> None:
            try:
                asyncio.run(main())
            except BaseException as error:  # raised where the context is entered, or left
                failures.append(error)
            finally:
                ready.set()

        serving = threading.Thread(target=thread, name="embedded-control-plane", daemon=True)
        serving.start()
        ready.wait()
        try:
            if not failures:
                yield Embedded(server.endpoint, server.data, lambda: _flush(server, handle[0][0]))
        finally:
            with suppress(RuntimeError, IndexError):  # it has ended by itself
                handle[0][0].call_soon_threadsafe(handle[0][1].set)
            serving.join()
        if failures:
            raise failures[0]


def _flush(server: _Server, loop: asyncio.AbstractEventLoop) -> None:
    """Let what is written be seen by other connections to the database. Once it has ended, it is."""

    async def commit() -> None:
        if server.database is not None:
            server.database.commit()

    work = commit()
    try:
        asyncio.run_coroutine_threadsafe(work, loop).result()
    except RuntimeError:
        work.close()


@contextmanager
def _opened(
    host: str,
    port: int,
    data: Path | None,
    projects: Sequence[str],
    faults: Sequence[Fault],
    worker: Worker | None,
    login: LoginSide | None = None,
    tls: Tls | None = None,
) -> Iterator[_Server]:
    with ExitStack() as resources:
        if data is None:
            data = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="flyte-deploy-")))
        data = Path(os.path.realpath(data))
        lock = resources.enter_context(_locked(data))
        listener = resources.enter_context(_listening(host, port))
        server = _Server(listener, data, projects, faults, worker, login, tls)
        # For whoever finds the folder locked.
        lock.truncate(0)
        lock.write(f"{server.endpoint} {os.getpid()}")
        lock.flush()
        yield server


@contextmanager
def _locked(data: Path) -> Iterator[TextIOWrapper]:
    """The data folder, locked for this process. The lock goes with the process, however that ends."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = (data / _LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise DeployError(
            f"the embedded control plane cannot keep its data here: {error.strerror}",
            where=str(data),
            mend="Name a folder that can be written with --data.",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            endpoint, _, process = file.read().partition(" ")
            owner = f", which listens on {endpoint} (process {process})" if process else ""
            raise DeployError(
                f"this folder belongs to another embedded control plane that is running{owner}",
                where=str(data),
                mend="Use that one as the endpoint, or name another folder with --data.",
            ) from error
        yield file


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise DeployError(
            f"the embedded control plane cannot listen: {getattr(error, 'strerror', None) or error}",
            where=f"{host}:{port}",
            mend="End what listens there, or name another --port.",
        ) from error
    with listener:
        yield listener


class _Server:
    def __init__(
        self,
        listener: socket.socket,
        data: Path,
        projects: Sequence[str],
        faults: Sequence[Fault],
        worker: Worker | None,
        login: LoginSide | None,
        tls: Tls | None,
    ) -> None:
        host, port = listener.getsockname()[:2]
        self.endpoint = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.data = data
        self.database: Database | None = None
        self._listener = listener
        self._projects = projects
        self._faults = faults
        self._worker = worker
        self._login = login
        self._tls = tls

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Serve until told to stop."""
        with (
            ThreadPoolExecutor(max_workers=8, thread_name_prefix="embedded") as background,
            ThreadPoolExecutor(max_workers=8, thread_name_prefix="builds") as building,
        ):
            rules = Rules(background)
            self.database = database = Database(self.data)
            try:
                create_missing(database, self._projects)
                watch = Watch(database, rules, self._faults, stop)
                store = Store(self.data, database, watch, background)
                runs = Runs(building, self._worker)
                if self._worker is not None:
                    await offer_builder(database)
                application = _router(database, watch, store, runs, self._login)
                database.commit()
                ready()
                await self._serve(application, store, runs, stop)
                await runs.ended()
            finally:
                self.database = None
                database.close()

    async def _serve(self, application: _Application, store: Store, runs: Runs, stop: asyncio.Event) -> None:
        config, loop = Config(), asyncio.get_running_loop()
        # One of this server alone, to be silenced with it.
        log = logging.Logger(f"{__name__}.http")  # noqa: LOG001
        log.parent = logging.getLogger(__name__)
        # The server closes what it is given, and so does whoever opened the listener.
        config.bind = [f"fd://{os.dup(self._listener.fileno())}"]
        config.errorlog = log
        config.loglevel = "WARNING"
        config.backlog = 1024
        if self._tls is not None:
            config.certfile, config.keyfile = str(self._tls.certificate), str(self._tls.key)
        config.include_date_header = False
        config.include_server_header = False
        # Closing a connection under a client of gRPC is seen there as UNAVAILABLE.
        config.keep_alive_max_requests = _FOREVER
        config.keep_alive_timeout = _FOREVER
        # Its tree of priorities ends at a thousand.
        config.h2_max_concurrent_streams = 500
        config.graceful_timeout = _GRACE
        serving = asyncio.ensure_future(
            hypercorn_serve(cast("Any", application), config, shutdown_trigger=stop.wait, mode="asgi")
        )
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        store.stop()
        # Streams that watch a run would go on as long as that.
        await runs.close()
        # Nobody wants to read how clients that wait on are cut off.
        log.disabled = True
        loop.set_exception_handler(lambda *_: None)
        # From Python 3.12 on it waits for clients that do not go.
        await asyncio.wait((serving,), timeout=_GRACE)
        if not serving.done():
            serving.cancel()
            await asyncio.wait((serving,), timeout=_GRACE)
        while not serving.done():
            # A call whose client has gone waits, after it was cancelled, for that client to read its end.
            for task in asyncio.all_tasks() - {asyncio.current_task(), serving}:
                task.cancel()
            await asyncio.wait((serving,), timeout=0.1)
            serving.cancel()
        with suppress(asyncio.CancelledError, asyncio.InvalidStateError):
            await serving


def _router(
    database: Database, watch: Watch, store: Store, runs: Runs, login: LoginSide | None
) -> _Application:
    """The one application: the generated ones by service, and the store."""
    around = (watch,)
    applications: list[tuple[FileDescriptor, ConnectASGIApplication[Any]]] = [
        (
            task_service_pb2.DESCRIPTOR,
            task_service_connect.TaskServiceASGIApplication(TaskService(database), interceptors=around),
        ),
        (
            trigger_service_pb2.DESCRIPTOR,
            trigger_service_connect.TriggerServiceASGIApplication(
                TriggerService(database), interceptors=around
            ),
        ),
        (
            project_service_pb2.DESCRIPTOR,
            project_service_connect.ProjectServiceASGIApplication(
                ProjectService(database), interceptors=around
            ),
        ),
        (
            dataproxy_service_pb2.DESCRIPTOR,
            dataproxy_service_connect.DataProxyServiceASGIApplication(
                DataProxyService(database, store, runs), interceptors=around
            ),
        ),
        (
            image_pb2.DESCRIPTOR,
            image_connect.ImageServiceASGIApplication(ImageService(database, runs), interceptors=around),
        ),
        (
            run_service_pb2.DESCRIPTOR,
            run_service_connect.RunServiceASGIApplication(
                RunService(database, store, runs), interceptors=around
            ),
        ),
        (
            cluster_pb2.DESCRIPTOR,
            cluster_connect.ClusterServiceASGIApplication(ClusterService(), interceptors=around),
        ),
        (
            auth_service_pb2.DESCRIPTOR,
            auth_service_connect.AuthMetadataServiceASGIApplication(
                AuthMetadataService(login), interceptors=around
            ),
        ),
        (
            identity_pb2.DESCRIPTOR,
            identity_connect.IdentityServiceASGIApplication(IdentityService(), interceptors=around),
        ),
    ]
    methods: dict[str, _Application] = {}
    for file, application in applications:
        for method in file.services_by_name[application.path.rpartition(".")[2]].methods:
            methods[f"{application.path}/{method.name}"] = cast("_Application", application)

    async def route(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"no protocol of this server: {scope['type']}")
        path = scope["path"]
        application = methods.get(path)
        if login is not None and not path.startswith(PREFIX) and not login.admits(scope):
            database.log(path.rpartition("/")[2], Code.UNAUTHENTICATED.value)
            # What has come is taken: the server cannot do with data for a call that has ended.
            while (message := await receive())["type"] == "http.request" and message["more_body"]:
                pass
            if message["type"] == "http.request":
                await _refuse(scope, send, Code.UNAUTHENTICATED, 16, 401, "no valid token on the request")
        elif application is not None:
            await application(_uncompressed(scope), receive, send)
        elif path.startswith(PREFIX):
            await store(scope, receive, send)
        else:
            database.log(path, Code.UNIMPLEMENTED.value)
            await _refuse(scope, send, Code.UNIMPLEMENTED, 12, 404, "no such method")

    return route


def _uncompressed(scope: HTTPScope) -> HTTPScope:
    """A request that does not ask for a compressed answer: clients are on the same machine."""
    scope["headers"] = [
        (name, value)
        for name, value in scope["headers"]
        if name not in (b"grpc-accept-encoding", b"accept-encoding", b"connect-accept-encoding")
    ]
    if scope["scheme"] == "https":
        # What addresses that are handed out begin with.
        scope["headers"] = [*scope["headers"], (b"x-forwarded-proto", b"https")]
    return scope


async def _lifespan(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _refuse(
    scope: HTTPScope, send: ASGISendCallable, code: Code, number: int, status: int, words: str
) -> None:
    """Refuse a call before it reaches its service: to gRPC by a trailer, to Connect by a status and JSON."""
    content_type = dict(scope["headers"]).get(b"content-type", b"")
    if content_type.startswith(b"application/grpc") and "http.response.trailers" in scope["extensions"]:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", content_type)],
                "trailers": True,
            }
        )
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        await send(
            {
                "type": "http.response.trailers",
                "headers": [(b"grpc-status", b"%d" % number), (b"grpc-message", words.encode())],
                "more_trailers": False,
            }
        )
        return
    body = json.dumps({"code": code.value, "message": words}).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
            "trailers": False,
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
