"""Image builds in the backend: runs of its task ``build-image``, by the calls that Flyte's SDK 2.12 makes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from flyteidl2.cluster.payload_pb2 import SelectClusterRequest
from flyteidl2.common.identifier_pb2 import ActionIdentifier, RunIdentifier
from flyteidl2.common.list_pb2 import ListRequest, Sort
from flyteidl2.common.phase_pb2 import (
    ACTION_PHASE_ABORTED,
    ACTION_PHASE_FAILED,
    ACTION_PHASE_SUCCEEDED,
    ACTION_PHASE_TIMED_OUT,
    ActionPhase,
)
from flyteidl2.core.literals_pb2 import Blob, BlobMetadata, Literal, Primitive, Scalar, Union
from flyteidl2.core.security_pb2 import Secret
from flyteidl2.core.types_pb2 import LiteralType, SimpleType
from flyteidl2.dataproxy.dataproxy_service_pb2 import (
    GetActionDataRequest,
    GetActionDataResponse,
    TailLogsRequest,
    UploadInputsRequest,
)
from flyteidl2.imagebuilder.definition_pb2 import ImageIdentifier
from flyteidl2.imagebuilder.payload_pb2 import GetImageRequest
from flyteidl2.task.common_pb2 import Inputs, NamedLiteral
from flyteidl2.task.run_pb2 import CACHE_LOOKUP_SCOPE_PROJECT_DOMAIN, CacheConfig, RunSpec
from flyteidl2.task.task_definition_pb2 import TaskSpec
from flyteidl2.task.task_service_pb2 import GetTaskDetailsRequest, ListTasksRequest
from flyteidl2.workflow.run_service_pb2 import (
    AbortRunRequest,
    CreateRunRequest,
    GetActionDetailsRequest,
    WatchActionDetailsRequest,
)

from flyte_deploy.controlplane.client import ControlPlane
from flyte_deploy.controlplane.line import code_of
from flyte_deploy.controlplane.listing import one_of, project_id
from flyte_deploy.controlplane.server import Server
from flyte_deploy.controlplane.unary import Call, Refused, Work, run_all
from flyte_deploy.controlplane.uploads import select_cluster
from flyte_deploy.errors import DeployError
from flyte_deploy.model import BuildRun, Target

TASK_NAME, TASK_PROJECT = "build-image", "system"

_DONE = (ACTION_PHASE_SUCCEEDED, ACTION_PHASE_FAILED, ACTION_PHASE_ABORTED, ACTION_PHASE_TIMED_OUT)
_ACTION = "a0"
_POLL = 2.0
"""Seconds between two looks at a run whose stream does not hold."""

_LOG_ATTEMPTS = 10
_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)

_LOCAL = "Build with --image-builder local, which needs a Docker engine."


class NoBuilder(DeployError):  # noqa: N818 - what is the case
    """The backend has no image builder."""


class Stopped(Exception):  # noqa: N818 - not a failure
    """Watching was ended because something else went wrong."""


@dataclass(frozen=True)
class BackendImage:
    """An image that the backend has built: its full name, and the run that made it where that is known."""

    name: str
    run: BuildRun | None = None


@dataclass(frozen=True)
class State:
    """How far a run is: the phase's name (``running``), whether it is over, and what went wrong."""

    phase: str
    done: bool = False
    succeeded: bool = False
    aborted: bool = False
    error: str = ""


@dataclass
class BuildRuns:
    """The backend's image builder, for one target.

    Its methods block, may be called from any thread, and raise `DeployError` for whatever goes wrong.

    Args:
        plane: the control plane; it has to stay open.
        target: the project and domain of the deployment: where images are looked up and runs are made.
        task_domain: the domain that the backend's task is in.
    """

    plane: ControlPlane
    target: Target
    task_domain: str = "production"
    _spec: TaskSpec | None = None
    _servers: dict[int, Server] = field(default_factory=dict)
    _streams: set[Any] = field(default_factory=set)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def task(self) -> TaskSpec:
        """The newest ``build-image``, asked for once.

        Raises:
            DeployError: where the backend has none.
        """
        if self._spec is None:
            self._spec = self.plane.do(self._read_task())
        return self._spec

    def images(self, names: Sequence[str]) -> list[BackendImage | None]:
        """The images of these names, ``name:tag``, all asked for at once; None for each that is not there.

        Raises:
            DeployError: where the backend has no image service, or does not answer.
        """
        server = self._cluster(SelectClusterRequest.OPERATION_GET_IMAGE)
        works = (self._image(server, name) for name in names)
        return run_all(works, concurrency=self.plane.concurrency, retry=self.plane.retry)

    def start(
        self,
        name: str,
        inputs: Mapping[str, str],
        *,
        secrets: Sequence[tuple[str, str]] = (),
        overwrite: bool = False,
    ) -> tuple[BuildRun, bool]:
        """Start a run of this name, or find the one that is there; says whether it was started now.

        Args:
            name: what the run is called.
            inputs: addresses and texts, by the name of the task's input.
            secrets: group and key of each secret that the build mounts.
            overwrite: whether the backend's own cache is passed over.
        """
        spec = TaskSpec()
        spec.CopyFrom(self.task())
        for group, key in secrets:
            wanted = Secret(group=group, key=key, mount_requirement=Secret.MountType.FILE)
            # As the SDK requests a secret that is mounted in a folder.
            wanted.env_var = ""
            spec.task_template.security_context.secrets.append(wanted)
        literals = inputs_of(spec, inputs)
        run = BuildRun(self.target.org, self.target.project, self.target.domain, name)
        return run, self.plane.do(self._start(run, spec, literals, overwrite))

    def has_inputs(self, run: BuildRun, inputs: Mapping[str, str]) -> bool:
        """Whether a run that is there was started with these inputs; yes where the backend does not say."""
        server = self._cluster(SelectClusterRequest.OPERATION_GET_ACTION_DATA)
        found = self.plane.do(self._data(server, run)).inputs.literals
        wanted = inputs_of(self.task(), inputs).literals
        return not found or {one.name: one.value for one in found} == {one.name: one.value for one in wanted}

    def states(self, run: BuildRun, limit: float) -> Iterator[State]:
        """How far a run is, at once and after each change, to its end or to a moment of the monotonic clock.

        The stream of the backend is taken up again where it breaks, and the run is asked for where no stream
        holds.

        Raises:
            Stopped: after `stop`.
        """
        last: State | None = None
        for state in self._raw_states(run, limit):
            if state != last:
                last = state
                yield state
            if state.done:
                return

    def lines(self, run: BuildRun, on_line: Callable[[str], None]) -> None:
        """Hand on the lines of a run's log as they come; ends with it, or where the backend has no logs."""
        seen = 0
        for _ in range(_LOG_ATTEMPTS):
            number = 0
            try:
                server = self._cluster(SelectClusterRequest.OPERATION_TAIL_LOGS)
                request = TailLogsRequest(action_id=_action(run), attempt=1)
                with self._stream(server.data_proxy.TailLogs(request)) as stream:
                    for response in stream:
                        for line in (line for logs in response.logs for line in logs.lines):
                            number += 1
                            if number > seen:
                                on_line(line.message)
                return
            except grpc.RpcError as error:
                # A help only: what came of the run is asked for by itself.
                if code_of(error) not in _BROKEN:
                    return
            except (DeployError, Stopped):
                return
            # From its beginning again, less what was handed on.
            seen = max(seen, number)
            if self._stopped.wait(_POLL):
                return

    def stop(self) -> None:
        """End all that is being watched; whoever watches gets `Stopped`."""
        self._stopped.set()
        for stream in list(self._streams):
            stream.cancel()

    def image_of(self, run: BuildRun) -> str:
        """The full name of the image that a run has made."""
        server = self._cluster(SelectClusterRequest.OPERATION_GET_ACTION_DATA)
        literals = self.plane.do(self._data(server, run)).outputs.literals
        name = str(literals[0].value.scalar.primitive.string_value) if literals else ""
        if not name:
            raise DeployError(
                f"the image build {run.name} ended well, and says no image",
                where=str(self.plane.endpoint),
                mend="This is for whoever runs the control plane to mend.",
            )
        return name

    def abort(self, run: BuildRun, reason: str) -> None:
        """End a run; one that has ended or vanished is no error."""
        server = self.plane.server
        try:
            server.runs.AbortRun(AbortRunRequest(run_id=_id(run), reason=reason), timeout=10)
        except grpc.RpcError:
            return

    @contextmanager
    def _stream(self, stream: Any) -> Iterator[Any]:
        """A stream that `stop` ends."""
        self._streams.add(stream)
        try:
            if self._stopped.is_set():
                raise Stopped
            yield stream
        finally:
            self._streams.discard(stream)
            stream.cancel()

    def _cluster(self, operation: SelectClusterRequest.Operation) -> Server:
        if operation not in self._servers:
            self._servers[operation] = self.plane.do(select_cluster(self.plane, self.target, operation))
        return self._servers[operation]

    def _read_task(self) -> Work[TaskSpec]:
        server = self.plane.server
        there = Target(TASK_PROJECT, self.task_domain, self.target.org)
        newest = ListRequest(
            limit=1,
            filters=[one_of("name", [TASK_NAME])],
            sort_by=Sort(key="created_at", direction=Sort.Direction.DESCENDING),
        )
        request = ListTasksRequest(request=newest, project_id=project_id(there))
        try:
            answer = yield Call(
                server, server.tasks.ListTasks, request, "looking for the backend's image builder"
            )
            tasks = answer.tasks
        except Refused as refused:
            if refused.code is not grpc.StatusCode.NOT_FOUND:
                raise
            tasks = ()
        if not tasks:
            raise _no_builder(f"it has no task '{TASK_NAME}' in {TASK_PROJECT}/{self.task_domain}")
        found = tasks[0].task_id
        found.org = found.org or self.target.org
        answer = yield Call(
            server,
            server.tasks.GetTaskDetails,
            GetTaskDetailsRequest(task_id=found),
            "reading the task that builds images",
        )
        spec: TaskSpec = answer.details.spec
        return spec

    def _image(self, server: Server, name: str) -> Work[BackendImage | None]:
        request = GetImageRequest(
            id=ImageIdentifier(name=name),
            organization=self.target.org,
            project_id=project_id(self.target),
        )
        try:
            answer = yield Call(server, server.images.GetImage, request, f"looking up image '{name}'")
        except Refused as refused:
            if refused.code is grpc.StatusCode.NOT_FOUND:
                return None
            if refused.code is grpc.StatusCode.UNIMPLEMENTED:
                raise _no_builder("it does not know the service for images") from None
            raise
        image = answer.image
        made = image.build_run
        # As the SDK: a run without all of these has no page in the console.
        run = BuildRun(made.org, made.project, made.domain, made.name)
        return BackendImage(image.fqin, run if run.project and run.domain and run.name else None)

    def _start(self, run: BuildRun, spec: TaskSpec, inputs: Inputs, overwrite: bool) -> Work[bool]:
        cluster = yield from select_cluster(
            self.plane, self.target, SelectClusterRequest.OPERATION_UPLOAD_INPUTS
        )
        upload = UploadInputsRequest(inputs=inputs, task_spec=spec, run_id=_id(run))
        doing = "uploading the inputs of an image build"
        answer = yield Call(cluster, cluster.data_proxy.UploadInputs, upload, doing)
        server = self.plane.server
        request = CreateRunRequest(
            run_id=_id(run),
            task_spec=spec,
            offloaded_input_data=answer.offloaded_input_data,
            run_spec=RunSpec(
                overwrite_cache=overwrite,
                cache_config=CacheConfig(
                    overwrite_cache=overwrite, cache_lookup_scope=CACHE_LOOKUP_SCOPE_PROJECT_DOMAIN
                ),
            ),
        )
        try:
            yield Call(server, server.runs.CreateRun, request, f"starting the image build {run.name}")
        except Refused as refused:
            if refused.code is grpc.StatusCode.ALREADY_EXISTS:
                return False
            if refused.code is grpc.StatusCode.UNIMPLEMENTED:
                raise _no_builder("it runs no image builds") from None
            raise
        return True

    def _raw_states(self, run: BuildRun, limit: float) -> Iterator[State]:
        server = self.plane.server
        while (left := limit - time.monotonic()) > 0:
            came = False
            try:
                request = WatchActionDetailsRequest(action_id=_action(run))
                with self._stream(server.runs.WatchActionDetails(request, timeout=left)) as stream:
                    for response in stream:
                        came = True
                        yield _state(response.details)
            except grpc.RpcError as error:
                if code_of(error) is grpc.StatusCode.NOT_FOUND:
                    raise _vanished(run, server) from None
            if self._stopped.wait(0 if came else _POLL):
                raise Stopped
            # Whatever the stream left out: a look by itself, with the patience of every call.
            yield self.plane.do(self._look(server, run))

    def _look(self, server: Server, run: BuildRun) -> Work[State]:
        request = GetActionDetailsRequest(action_id=_action(run))
        doing = f"asking how far the image build {run.name} is"
        try:
            answer = yield Call(server, server.runs.GetActionDetails, request, doing)
        except Refused as refused:
            if refused.code is grpc.StatusCode.NOT_FOUND:
                raise _vanished(run, server) from None
            raise
        return _state(answer.details)

    def _data(self, server: Server, run: BuildRun) -> Work[GetActionDataResponse]:
        request = GetActionDataRequest(action_id=_action(run))
        doing = f"asking for the image of the build {run.name}"
        answer = yield Call(server, server.data_proxy.GetActionData, request, doing)
        data: GetActionDataResponse = answer
        return data


def inputs_of(spec: TaskSpec, given: Mapping[str, str]) -> Inputs:
    """Texts and addresses as inputs of a task, each a literal of the type that its interface says.

    An empty text is None where that is a variant of the type.

    Raises:
        DeployError: for an input that the task does not have, and for a type that holds no text.
    """
    types = {entry.key: entry.value.type for entry in spec.task_template.interface.inputs.variables}
    unknown = sorted(set(given) - set(types))
    if unknown:
        raise _no_builder(f"its task '{TASK_NAME}' has no input '{unknown[0]}'")
    literals = []
    for name, text in given.items():
        literal = _literal(types[name], text)
        if literal is None:
            raise _no_builder(f"its task '{TASK_NAME}' takes no text or file as '{name}'")
        literals.append(NamedLiteral(name=name, value=literal))
    return Inputs(literals=literals)


def _literal(kind: LiteralType, text: str) -> Literal | None:
    if kind.HasField("union_type"):
        empty = SimpleType.NONE if not text else None
        for variant in kind.union_type.variants:
            if empty is not None and variant.simple == empty and not variant.HasField("blob"):
                nothing = Literal(scalar=Scalar(none_type={}))
                return Literal(scalar=Scalar(union=Union(value=nothing, type=variant)))
        for variant in kind.union_type.variants:
            value = _literal(variant, text)
            if value is not None:
                return Literal(scalar=Scalar(union=Union(value=value, type=variant)))
        return None
    if kind.HasField("blob"):
        return Literal(scalar=Scalar(blob=Blob(uri=text, metadata=BlobMetadata(type=kind.blob))))
    if kind.simple == SimpleType.STRING:
        return Literal(scalar=Scalar(primitive=Primitive(string_value=text)))
    return None


def _id(run: BuildRun) -> RunIdentifier:
    return RunIdentifier(org=run.org, project=run.project, domain=run.domain, name=run.name)


def _action(run: BuildRun) -> ActionIdentifier:
    return ActionIdentifier(run=_id(run), name=_ACTION)


def _state(details: Any) -> State:
    phase = details.status.phase
    error = details.abort_info.reason if phase == ACTION_PHASE_ABORTED else details.error_info.message
    return State(
        phase=ActionPhase.Name(phase).removeprefix("ACTION_PHASE_").lower().replace("_", " "),
        done=phase in _DONE,
        succeeded=phase == ACTION_PHASE_SUCCEEDED,
        aborted=phase == ACTION_PHASE_ABORTED,
        error=str(error),
    )


def _no_builder(why: str) -> NoBuilder:
    return NoBuilder(f"this backend has no image builder: {why}", mend=_LOCAL)


def _vanished(run: BuildRun, server: Server) -> DeployError:
    return DeployError(
        f"the image build {run.name} is not there any more",
        where=str(server.endpoint),
        mend="Deploy again: what was built is found, what was not is built.",
    )
