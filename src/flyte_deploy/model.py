"""The nouns: what a step of the pipeline hands to the next one.

Those that come out of the collector (`Task`, `Environment` and what they hold) are msgspec structs, decoded
and type-checked straight from its message. They are frozen, as everything here is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from flyte_deploy.images.source import ImageSource
from flyte_deploy.specs.changes import Difference

Text = Annotated[str, Meta(max_length=4096)]
"""What the collector says of something, of so many characters: it is shown to people, and is a stranger's.
Names are shorter still, see `flyte_deploy.collector.run.checked`."""


class Location(Struct, frozen=True):
    """A place in the project's source: a path relative to the root (POSIX) and a line, counted from 1."""

    file: Text
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Parameter(Struct, frozen=True):
    """One input of a task. `default` is the Python text of the default value, absent where there is none."""

    name: Text
    type: Text
    default: Text | None = None


class Output(Struct, frozen=True):
    """One output of a task."""

    name: Text
    type: Text


class Trigger(Struct, frozen=True):
    """A trigger as the code declares it; `schedule` is a cron expression or an interval in words.

    `active` is what the code says; the deployer decides what is sent.
    """

    name: str
    schedule: Text = ""
    active: bool = True


class Task(Struct, frozen=True, kw_only=True):
    """A task and its serialized ``DeployTaskRequest``.

    `request` is deterministic protobuf made by the project's own SDK, with the placeholders of
    `flyte_deploy.specs.placeholders` for everything that is not known when it is collected. Its triggers
    are all inactive; what the code says is in `triggers`.

    `resources` maps ``cpu``, ``memory``, ``gpu``, ``disk``, ``shm`` to Flyte's own notation (``"2Gi"``,
    ``"A100:1"``). `timeout` is in seconds, 0 for none.
    """

    name: str
    short_name: Text
    environment: str
    location: Location | None = None
    kind: Text = "python"
    parameters: tuple[Parameter, ...] = ()
    outputs: tuple[Output, ...] = ()
    resources: dict[Text, Text] = {}
    cache: Text = "disable"
    retries: int = 0
    timeout: float = 0
    secrets: tuple[Text, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    reuse: Text = ""
    documentation: Text = ""
    volatile: tuple[Text, ...] = ()
    """Parameters whose default differs from one load to the next, such as ``datetime.now()``."""
    request: bytes = b""


class Image(Struct, frozen=True):
    """What an environment says about its image.

    `kind` is ``text`` (an address written as text, in `uri`), ``prebuilt`` (a `flyte.Image` with nothing to
    build, its address in `uri`), ``default`` (nothing said: Flyte's default image), ``named``
    (`Image.from_ref_name`, the name in `name`), ``build`` (has to be built) or ``none``. `uri` of the kinds
    ``default`` is what the SDK calls the image. Of the kind ``build`` there is a `source`,
    or a `problem`, why there is none.
    """

    kind: Text
    uri: Text = ""
    name: Text = ""
    source: ImageSource | None = None
    problem: Text = ""


class Environment(Struct, frozen=True, kw_only=True):
    """A `flyte.TaskEnvironment` (or another kind of environment, see `kind`) found by the collector.

    `key` identifies it among those of one run: names can clash, which is an error that `resolve` reports.
    `depends_on` holds keys.
    """

    key: int
    name: str
    kind: Text = "task"
    selected: bool = False
    variable: Text = ""
    module: Text = ""
    location: Location | None = None
    description: Text = ""
    depends_on: tuple[int, ...] = ()
    image: Image = Image("default")
    include: tuple[Text, ...] = ()
    """As written; relative to `declared_in`."""
    declared_in: Text = ""
    """The absolute path of the file that declares the environment."""
    tasks: tuple[Task, ...] = ()


@dataclass(frozen=True)
class Target:
    """Where tasks are registered. `org` may be empty: the open-source backend runs without one."""

    project: str
    domain: str
    org: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.org, self.project, self.domain) if part)


@dataclass(frozen=True)
class BundleFile:
    """A file of a bundle. `path` is relative to the root (POSIX), `size` in bytes, `sha256` in hex.

    `mode` is 0o644 or 0o755. `reason` says why the file is in: ``imported``, ``lazy import``, ``include``,
    ``all``.
    """

    path: str
    source: Path
    size: int
    mode: int
    sha256: str
    reason: str

    @property
    def name(self) -> str:
        """The path as text that can be written anywhere: names of files need not be UTF-8."""
        return self.path.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Bundle:
    """The code that goes with a deployment, known by the digest of its files: nothing is packed yet.

    `digest` is hex, a SHA-256 over paths, modes and contents.
    """

    files: tuple[BundleFile, ...]
    digest: str
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The sum of the files' sizes, in bytes."""
        return sum(file.size for file in self.files)

    @property
    def archive_name(self) -> str:
        """The name of the archive. The task container marks what it has unpacked by this name."""
        return f"{self.digest}.tar.gz"


@dataclass(frozen=True)
class RegisteredTask:
    """A row of the control plane's list: a task, one version of it, and the environment it belongs to."""

    name: str
    version: str
    environment: str


@dataclass(frozen=True)
class PlannedTask:
    """What is to be done with a task. `action` is ``register`` or ``keep``; `why` says it in words."""

    task: Task
    action: str
    why: str


@dataclass(frozen=True)
class PlannedEnvironment:
    """An environment in its place in the order of registration.

    `reason` is ``selected`` or names the environment that needs it; `image` is the address that its tasks
    get, empty where the project's code says that there is none.
    """

    environment: Environment
    reason: str
    depends_on: tuple[str, ...]
    image: str
    tasks: tuple[PlannedTask, ...]


@dataclass(frozen=True)
class BuildRun:
    """The run of the backend's image builder that made an image."""

    org: str
    project: str
    domain: str
    name: str


@dataclass(frozen=True)
class PlannedImage:
    """An image that has to exist for the tasks that are registered.

    Args:
        reference: its repository and tag; the tag is a digest of what it is built from.
        environments: the environments that use it.
        known: its whole address, as tasks are registered with it, where it is there or was built; empty
            where it is to be built, or nobody was asked.
        asked: whether anybody was asked for it.
        seconds: how long building it took; None where it was not built.
        run: the run that made it, where the backend built it and says so.
    """

    reference: str
    environments: tuple[str, ...]
    known: str = ""
    asked: bool = False
    seconds: float | None = None
    run: BuildRun | None = None

    @property
    def address(self) -> str:
        """What tasks are registered with, as far as it is known."""
        return self.known or self.reference

    @property
    def digest(self) -> str:
        """``sha256:…`` where that is known."""
        return self.known.partition("@")[2]


@dataclass(frozen=True)
class PlannedUpload:
    """A file or folder that a default or a trigger's input needs. `size` is in bytes, `digest` hex."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True)
class Plan:
    """What a deploy would do.

    Args:
        target: where; None for a plan without a control plane that was given none.
        endpoint: the control plane asked, empty if none was.
        version: the version that the tasks get.
        content: the content version.
        environments: dependencies before dependents.
        bundle: the code, None where tasks get none.
        bundle_address: where the bundle lies already, empty if it is still to be uploaded (or nobody was
            asked).
        bundle_store: where bundles go, in words.
        captured: files and folders that defaults and trigger inputs need; they go to the control plane's
            storage, each once.
        images: images that are built for the tasks; none where nothing is to be registered.
        stale_triggers: triggers that live and are gone from the code, as ``task/trigger``.
        prune: whether those are to be removed.
        notes: what a reader should know.
        warnings: what a reader should look at.
        python: the version of the project's interpreter.
        sdk: the version of the project's SDK.
        steps: the steps so far and how long they took.
        difference: what it changes; None where nothing was compared.
    """

    target: Target | None
    endpoint: str
    version: str
    content: str
    environments: tuple[PlannedEnvironment, ...]
    bundle: Bundle | None
    bundle_address: str
    bundle_store: str
    captured: tuple[PlannedUpload, ...] = ()
    images: tuple[PlannedImage, ...] = ()
    stale_triggers: tuple[str, ...] = ()
    prune: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    python: str = ""
    sdk: str = ""
    steps: tuple[Step, ...] = ()
    difference: Difference | None = None

    @property
    def tasks(self) -> tuple[PlannedTask, ...]:
        """All tasks, in the order of registration."""
        return tuple(task for environment in self.environments for task in environment.tasks)

    @property
    def elapsed(self) -> float:
        """Seconds from the beginning of the run to the end of its last step."""
        return max((step.began + step.seconds for step in self.steps), default=0.0)

    @property
    def to_register(self) -> tuple[PlannedTask, ...]:
        """The tasks that would be registered."""
        return tuple(task for task in self.tasks if task.action == "register")

    @property
    def uploads(self) -> bool:
        """Whether the bundle would be uploaded. A deploy that registers nothing uploads nothing."""
        return self.bundle is not None and not self.bundle_address and bool(self.to_register)

    @property
    def to_build(self) -> tuple[PlannedImage, ...]:
        """The images that would be built: a deploy that registers nothing builds none."""
        return tuple(image for image in self.images if not image.known) if self.to_register else ()

    @property
    def has_changes(self) -> bool:
        """Whether a deploy would change anything."""
        return bool(self.to_register) or (self.prune and bool(self.stale_triggers))


@dataclass(frozen=True)
class Deployment:
    """What a deploy did: the plan that it followed, and what came of it.

    Args:
        plan: the plan, its steps those of the whole run.
        bundle_uri: the bundle's address, empty where tasks got none or nothing was registered.
        uploaded: whether the bundle was uploaded by this run.
        registered: names of the tasks that were registered.
        images: the images of the tasks that were registered, those that were built among them.
        pruned: triggers that were removed, as ``task/trigger``.
        record: the record of it as JSON, empty where nothing was registered and no record was missing.
        record_uri: where that lies, empty where its store cannot be read.
    """

    plan: Plan
    bundle_uri: str = ""
    uploaded: bool = False
    images: tuple[PlannedImage, ...] = ()
    registered: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    record: bytes = b""
    record_uri: str = ""

    @property
    def version(self) -> str:
        """The version of the tasks."""
        return self.plan.version


@dataclass(frozen=True)
class Step:
    """A step of the pipeline that has ended: how long it took, and how many seconds after the run it began.

    Steps may run side by side.
    """

    name: str
    seconds: float
    began: float = 0.0


@dataclass(frozen=True)
class Progress:
    """Something that happened, for whoever listens to decide how it looks.

    `kind` is ``step`` (a step of the pipeline begins), ``done`` (it has ended), ``load`` (a file was
    loaded), ``output`` (a line that user code printed), ``upload``, ``register``, ``image`` (what a builder
    does), ``build`` (a line of a build's log, its image in `data`), ``warning`` or ``note``.
    """

    kind: str
    text: str
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    data: dict[str, str] = field(default_factory=dict)
