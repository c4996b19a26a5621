"""Tasks to wire format with the project's own SDK, so that what is registered is what its runtime reads.

What `flyte deploy` sends is composed of the SDK's own functions in the SDK's own order. What is not known
yet, and what only says where things come from or go to, is a placeholder (`sdk.PLACEHOLDERS`) or left to the
deployer (the source link, which the SDK would ask git for once a task).
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import sdk
from .load import interpreter_folders


class Serializer:
    """Serializes the tasks of one run; what is the same for all of them is made once.

    Args:
        root: the absolute root.
        environments: all that will be deployed: their images travel with every task.
        with_bundle: False where the tasks get no code.
        sync_local_sys_paths: whether the paths below the root travel along, where the SDK sends them.
    """

    def __init__(
        self, root: str, environments: list[Any], *, with_bundle: bool, sync_local_sys_paths: bool
    ) -> None:
        from flyte import _deploy
        from flyte._internal.runtime import convert, task_serde, trigger_serde
        from flyte.models import CodeBundle, SerializationContext

        self._deploy = _deploy
        self._translate = task_serde.translate_task_to_wire
        self._default_inputs = convert.convert_upload_default_inputs
        self._to_trigger = trigger_serde.to_task_trigger
        cache = self._image_cache(environments)
        self.image_cache = cache.model_dump_json(exclude={"serialized_form"})
        self._context = SerializationContext(
            project=sdk.PROJECT,
            domain=sdk.DOMAIN,
            org=sdk.ORG,
            version=sdk.VERSION,
            code_bundle=CodeBundle(tgz=sdk.BUNDLE, computed_version=sdk.BUNDLE_DIGEST, destination=".")
            if with_bundle
            else None,
            image_cache=cache.model_copy(update={"serialized_form": sdk.IMAGE_CACHE}),
            root_dir=Path(root),
        )
        self._task_context = self._make_task_context()
        self._paths = self._local_paths(root) if sync_local_sys_paths else None

    @staticmethod
    def _image_cache(environments: list[Any]) -> Any:
        try:
            from flyte._internal.image_cache import ImageCache
        except ImportError:
            from flyte._internal.imagebuild.image_builder import ImageCache
        lookup = {
            e.name: sdk.IMAGE.format(e.name)
            for e in environments
            if e.image is not None and (e.image == "auto" or not isinstance(e.image, str))
        }
        return ImageCache(image_lookup=lookup)

    def _make_task_context(self) -> Any:
        import flyte.report
        from flyte.models import ActionID, RawDataPath, TaskContext

        # What the backend fills in when an action runs; log links refer to it.
        action = ActionID(
            name="{{.actionName}}",
            run_name="{{.runName}}",
            project="{{.executionProject}}",
            domain="{{.executionDomain}}",
            org="{{.executionOrg}}",
        )
        values = {
            "action": action,
            "output_path": self._context.output_path,
            "version": sdk.VERSION,
            "raw_data_path": RawDataPath(path=""),
            "compiled_image_cache": self._context.image_cache,
            "run_base_dir": "",
            "report": flyte.report.Report(name=action.name),
            "custom_context": {},
        }
        known = {field.name for field in dataclasses.fields(TaskContext)}
        return TaskContext(**{name: value for name, value in values.items() if name in known})

    def _local_paths(self, root: str) -> str | None:
        """The search path below the root, as the SDK sends it, less its accidents.

        Repeated entries and the interpreter's own folders (a virtual environment inside the root) are left
        out: they name this machine, not the project.
        """
        if not hasattr(self._deploy, "_with_local_sys_paths"):
            # Before that function existed, SDKs sent the paths with a run only.
            return None
        base = os.path.realpath(root)
        outside = interpreter_folders()
        entries: list[str] = []
        for entry in sys.path:
            real = os.path.realpath(entry) if entry else ""
            if real != base and not real.startswith(os.path.join(base, "")):
                continue
            if os.path.join(real, "").startswith(outside):
                continue
            # As written where that lies below the root, as the SDK has it: a link stays a link.
            written = os.path.join(os.path.normpath(entry), "")
            below = written if written.startswith(os.path.join(base, "")) else real
            relative = f"./{os.path.relpath(below, base)}"
            if relative not in entries:
                entries.append(relative)
        return ":".join(entries)

    async def request(self, task: Any) -> bytes:
        """The task's ``DeployTaskRequest``, deterministically serialized, triggers inactive."""
        from flyteidl2.task import task_definition_pb2, task_service_pb2

        if self._paths is not None:
            from flyte._constants import FLYTE_SYS_PATH

            task = copy.copy(task)
            task.env_vars = {**(task.env_vars or {}), FLYTE_SYS_PATH: self._paths}
        defaults = await self._default_inputs(task.interface)
        spec = self._translate(task, self._context, default_inputs=defaults, task_context=self._task_context)
        environment = task.parent_env() if task.parent_env else None
        if environment is not None and environment.description:
            spec.environment.description = environment.description
        spec.documentation.CopyFrom(self._deploy._get_documentation_entity(task))
        interface = self._deploy._update_interface_inputs_and_outputs_docstring(
            spec.task_template.interface, task.native_interface
        )
        spec.task_template.interface.CopyFrom(interface)
        request = task_service_pb2.DeployTaskRequest(
            task_id=task_definition_pb2.TaskIdentifier(
                org=sdk.ORG, project=sdk.PROJECT, domain=sdk.DOMAIN, name=task.name, version=sdk.VERSION
            ),
            spec=spec,
        )
        for trigger in getattr(task, "triggers", ()) or ():
            wire = await self._to_trigger(
                t=trigger,
                task_name=task.name,
                task_inputs=spec.task_template.interface.inputs,
                task_default_inputs=list(spec.default_inputs),
            )
            wire.spec.active = False
            request.triggers.append(wire)
        return bytes(request.SerializeToString(deterministic=True))


@contextmanager
def without_git() -> Iterator[None]:
    """Let the SDK find no git repository: it would start four processes a task for a link that we add."""
    try:
        from flyte.git import GitStatus
    except ImportError:
        yield
        return
    original = inspect.getattr_static(GitStatus, "from_current_repo")
    GitStatus.from_current_repo = classmethod(lambda cls: cls())
    try:
        yield
    finally:
        GitStatus.from_current_repo = original
