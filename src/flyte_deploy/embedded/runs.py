"""The services around image builds: runs of the task ``build-image``, and the images that came of them."""

# ruff: noqa: ARG002 - the methods of a service have the arguments that the generated code gives

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.common.identifier_pb2 import RunIdentifier
from flyteidl2.common.phase_pb2 import ACTION_PHASE_ABORTED, ACTION_PHASE_SUCCEEDED
from flyteidl2.core.catalog_pb2 import CACHE_HIT, CACHE_POPULATED
from flyteidl2.core.interface_pb2 import TypedInterface, Variable, VariableEntry, VariableMap
from flyteidl2.core.literals_pb2 import Literal
from flyteidl2.core.security_pb2 import SecurityContext
from flyteidl2.core.tasks_pb2 import Container, TaskMetadata, TaskTemplate
from flyteidl2.core.types_pb2 import LiteralType, SimpleType
from flyteidl2.imagebuilder import service_connect as image_connect
from flyteidl2.imagebuilder.definition_pb2 import Image, ImageIdentifier
from flyteidl2.imagebuilder.payload_pb2 import GetImageRequest, GetImageResponse
from flyteidl2.task.common_pb2 import Inputs
from flyteidl2.task.environment_pb2 import Environment
from flyteidl2.task.task_definition_pb2 import TaskIdentifier, TaskSpec
from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from flyteidl2.workflow import run_service_connect
from flyteidl2.workflow.run_definition_pb2 import (
    Action,
    ActionDetails,
    ActionMetadata,
    ActionStatus,
    ErrorInfo,
    RunDetails,
    TaskActionMetadata,
)
from flyteidl2.workflow.run_definition_pb2 import Run as RunMessage
from flyteidl2.workflow.run_service_pb2 import (
    AbortRunRequest,
    AbortRunResponse,
    CreateRunRequest,
    CreateRunResponse,
    GetActionDetailsRequest,
    GetActionDetailsResponse,
    GetRunDetailsRequest,
    GetRunDetailsResponse,
    WatchActionDetailsRequest,
    WatchActionDetailsResponse,
)

from flyte_deploy.embedded.builds import Order, Run, Runs, find_run
from flyte_deploy.embedded.common import Context, timestamp
from flyte_deploy.embedded.database import Database
from flyte_deploy.embedded.listing import invalid
from flyte_deploy.embedded.projects import create_missing, require_project
from flyte_deploy.embedded.tasks import deploy, find_spec
from flyte_deploy.embedded.uploads import Store

BUILD_TASK = TaskIdentifier(project="system", domain="production", name="build-image", version="1")
"""The task whose runs build images."""

NO_BUILDER = "this control plane runs no tasks, and builds images only with --build-registry"


def build_task() -> DeployTaskRequest:
    """The registration of the task, with the interface that clients call it by."""
    text = LiteralType(simple=SimpleType.STRING)
    # The addresses of uploaded files travel as text; without a context that one is empty.
    inputs = {"spec": text, "context": text, "target_image": text}
    template = TaskTemplate(
        id={"project": "system", "domain": "production", "name": "build-image", "version": "1"},
        type="python",
        metadata=TaskMetadata(discoverable=True, discovery_version="1"),
        interface=TypedInterface(
            inputs=VariableMap(
                variables=[
                    VariableEntry(key=name, value=Variable(type=kind)) for name, kind in inputs.items()
                ]
            ),
            outputs=VariableMap(variables=[VariableEntry(key="o0", value=Variable(type=text))]),
        ),
        container=Container(image="embedded", args=["build-image"]),
    )
    spec = TaskSpec(
        task_template=template, short_name="build-image", environment=Environment(name="build-image")
    )
    return DeployTaskRequest(task_id=BUILD_TASK, spec=spec)


async def offer_builder(database: Database) -> None:
    """Register the task, so that clients find that there is a builder."""
    create_missing(database, ("system",))
    await deploy(database, build_task())


class RunService(run_service_connect.RunService):
    """The API's service, for runs of one task."""

    def __init__(self, database: Database, store: Store, runs: Runs) -> None:
        self._database = database
        self._store = store
        self._runs = runs

    async def create_run(self, request: CreateRunRequest, ctx: Context) -> CreateRunResponse:
        wanted = request.run_id
        if request.HasField("project_id"):
            project = request.project_id
            wanted = RunIdentifier(org=project.organization, project=project.name, domain=project.domain)
        require_project(self._database, wanted.project)
        task = request.task_spec if request.HasField("task_spec") else self._spec(request.task_id)
        if task.task_template.id.name != BUILD_TASK.name or self._runs.worker is None:
            raise ConnectError(Code.UNIMPLEMENTED, NO_BUILDER)
        inputs = request.inputs
        cache_key = ""
        if request.HasField("offloaded_input_data"):
            offloaded = request.offloaded_input_data
            inputs, cache_key = self._inputs(offloaded.uri), offloaded.inputs_hash
        run = Run(
            id=self._runs.named(wanted),
            task=task,
            spec=request.run_spec,
            inputs=inputs,
            cache_key=cache_key,
            created=self._database.now(),
        )
        if self._runs.find(run.id) is not None:
            raise ConnectError(Code.ALREADY_EXISTS, f"run {run.id.name} already exists")
        order = self._order(task.task_template.security_context, inputs)
        earlier = None if _overwrites(request) else self._runs.cached(run)
        if earlier is not None and self._is_known(earlier.image):
            run.phase, run.image, run.cached = ACTION_PHASE_SUCCEEDED, earlier.image, True
            run.started = run.ended = run.created
            await self._runs.keep(run)
        else:
            self._runs.start(run, order, self._remember)
        return CreateRunResponse(run=RunMessage(action=_action(run)))

    async def abort_run(self, request: AbortRunRequest, ctx: Context) -> AbortRunResponse:
        await self._runs.abort(self._find(request.run_id), request.reason or "aborted")
        return AbortRunResponse()

    async def get_run_details(self, request: GetRunDetailsRequest, ctx: Context) -> GetRunDetailsResponse:
        run = self._find(request.run_id)
        return GetRunDetailsResponse(details=RunDetails(run_spec=run.spec, action=_details(run)))

    async def get_action_details(
        self, request: GetActionDetailsRequest, ctx: Context
    ) -> GetActionDetailsResponse:
        return GetActionDetailsResponse(details=_details(self._find(request.action_id.run)))

    async def watch_action_details(
        self, request: WatchActionDetailsRequest, ctx: Context
    ) -> AsyncIterator[WatchActionDetailsResponse]:
        run = self._find(request.action_id.run)
        last = -1
        async for _ in self._runs.states(run):
            if run.phase != last:
                last = run.phase
                yield WatchActionDetailsResponse(details=_details(run))

    def _spec(self, task: TaskIdentifier) -> TaskSpec:
        return find_spec(self._database, task)

    def _find(self, name: RunIdentifier) -> Run:
        return find_run(self._runs, name)

    def _inputs(self, uri: str) -> Inputs:
        try:
            return Inputs.FromString(self._store.read_native(f"{uri}/inputs.pb"))
        except OSError as error:
            raise invalid(f"there are no inputs at {uri}") from error

    def _order(self, security: SecurityContext, inputs: Inputs) -> Order:
        given = {literal.name: literal.value for literal in inputs.literals}
        spec, context, target = (_text(given.get(name)) for name in ("spec", "context", "target_image"))
        if not spec or not target:
            raise invalid("build-image takes the inputs spec, context and target_image")
        try:
            content = self._store.read_native(spec)
        except OSError as error:
            raise invalid(f"there is no file at {spec}") from error
        return Order(
            spec=content,
            context=Path(context.removeprefix("file://")) if context else None,
            target=target,
            secrets=tuple((secret.group, secret.key) for secret in security.secrets),
        )

    def _remember(self, run: Run) -> None:
        order_target = _text(next(one.value for one in run.inputs.literals if one.name == "target_image"))
        name = order_target.rpartition("/")[2]
        self._database.write(
            "INSERT OR REPLACE INTO images (project, domain, name, fqin, run) VALUES (?, ?, ?, ?, ?)",
            run.id.project,
            run.id.domain,
            name,
            run.image,
            run.id.SerializeToString(),
        )

    def _is_known(self, image: str) -> bool:
        return bool(self._database.read("SELECT 1 FROM images WHERE fqin = ?", image))


class ImageService(image_connect.ImageService):
    """The API's service: images that runs have built, by name and tag. It knows no registry."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._database = database
        self._runs = runs

    async def get_image(self, request: GetImageRequest, ctx: Context) -> GetImageResponse:
        if self._runs.worker is None:
            raise ConnectError(Code.UNIMPLEMENTED, NO_BUILDER)
        project = request.project_id
        rows = self._database.read(
            "SELECT fqin, run FROM images WHERE project = ? AND domain = ? AND name = ?",
            project.name,
            project.domain,
            request.id.name,
        )
        if not rows:
            raise ConnectError(Code.NOT_FOUND, f"image {request.id.name} not found")
        image = Image(
            id=ImageIdentifier(name=request.id.name),
            fqin=rows[0]["fqin"],
            build_run=RunIdentifier.FromString(rows[0]["run"]),
        )
        return GetImageResponse(image=image)


def _overwrites(request: CreateRunRequest) -> bool:
    return bool(request.run_spec.overwrite_cache or request.run_spec.cache_config.overwrite_cache)


def _text(literal: Literal | None) -> str:
    if literal is None:
        return ""
    return str(literal.scalar.primitive.string_value)


def _status(run: Run) -> ActionStatus:
    status = ActionStatus(
        phase=run.phase,  # type: ignore[arg-type]  # one of the enumeration's values
        attempts=1,
        cache_status=CACHE_HIT if run.cached else CACHE_POPULATED,
        start_time=timestamp(run.started or run.created),
    )
    if run.ended:
        status.end_time.CopyFrom(timestamp(run.ended))
        status.duration_ms = (run.ended - (run.started or run.created)) // 1000
    return status


def _metadata(run: Run) -> ActionMetadata:
    template = run.task.task_template
    identifier = TaskIdentifier(
        project=template.id.project,
        domain=template.id.domain,
        name=template.id.name,
        version=template.id.version,
    )
    return ActionMetadata(
        task=TaskActionMetadata(id=identifier, task_type=template.type, short_name=run.task.short_name)
    )


def _action(run: Run) -> Action:
    return Action(id=run.action, metadata=_metadata(run), status=_status(run))


def _details(run: Run) -> ActionDetails:
    details = ActionDetails(id=run.action, metadata=_metadata(run), status=_status(run), task=run.task)
    if run.phase == ACTION_PHASE_ABORTED:
        details.abort_info.reason = run.error
    elif run.error:
        details.error_info.message = run.error
        details.error_info.kind = ErrorInfo.KIND_USER
    return details
