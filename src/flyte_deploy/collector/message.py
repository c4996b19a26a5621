"""What comes over the collector's pipe, checked while it is decoded. Nothing in it is trusted."""

from __future__ import annotations

from msgspec import Struct

from flyte_deploy.model import Environment, Text


class Frame(Struct, frozen=True):
    """A frame of the user's own code."""

    file: str
    line: int
    function: str = ""
    text: str = ""


class LoadFailure(Struct, frozen=True, kw_only=True):
    """A file that could not be loaded, or a task that could not be serialized (then `task` names it)."""

    file: str
    type: str
    text: str
    missing: str = ""
    exit: bool = False
    frames: tuple[Frame, ...] = ()
    task: str = ""
    line: int = 0


class Failure(Struct, frozen=True, kw_only=True):
    """Why the collector could not go on; `flyte_deploy.collector.run` explains each `code`."""

    code: str
    text: str = ""
    type: str = ""
    frames: tuple[Frame, ...] = ()
    unknown: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    file: str = ""
    missing: str = ""
    exit: bool = False


class Capture(Struct, frozen=True):
    """What a default or an input needs: a file of that name, or (then `name` is empty) a folder.

    It lies below `digest` in the folder for captures; `files` are paths relative to that.
    """

    digest: Text
    name: Text
    folder: bool
    files: tuple[Text, ...]


class Answer(Struct, frozen=True, kw_only=True):
    """The end of a run.

    `modules` are the absolute paths of the project's loaded modules, `names` the same by module name, `lazy`
    those that would be imported later with the place (``path:line``) that says so. `image_cache` is the
    SDK's own JSON of it, with placeholders. `path` is `sys.path`.
    """

    protocol: int
    python: Text
    sdk: Text
    executable: Text = ""
    copy_style: Text = ""
    interpreter_folders: tuple[Text, ...] = ()
    path: tuple[Text, ...] = ()
    failures: tuple[LoadFailure, ...] = ()
    problems: tuple[LoadFailure, ...] = ()
    modules: tuple[Text, ...] = ()
    names: dict[Text, Text] = {}
    lazy: dict[Text, Text] = {}
    image_cache: str = ""
    captured: tuple[Capture, ...] = ()
    with_bundle: bool = False


class Line(Struct, frozen=True, kw_only=True):
    """One document of the pipe: exactly one of `event`, `environment`, `answer`, `failure` is set."""

    event: str = ""
    file: str = ""
    failed: bool = False
    missed: dict[str, str] = {}
    environment: Environment | None = None
    answer: Answer | None = None
    failure: Failure | None = None


class Collected(Struct, frozen=True):
    """All that a run of the collector brought: its answer and the environments it described."""

    answer: Answer
    environments: tuple[Environment, ...]
