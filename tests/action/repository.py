"""A repository whose events run the action in its container."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flyte_deploy.embedded import read_tasks
from tests.action.conftest import PYTHON
from tests.action.payloads import payload
from tests.github.server import REPOSITORY, TOKEN, GitHub
from tests.harness.runner import Runner, Step
from tests.harness.services import Services

FLOW = """
import flyte
from datetime import timedelta

env = flyte.TaskEnvironment(name="{name}")

@env.task(triggers=flyte.Trigger("nightly", flyte.Cron("0 3 * * *")))
async def one({inputs}) -> int:
    return {value}
"""


def flow(name: str, value: str = "1", inputs: str = "x: int = 1") -> dict[str, str]:
    """The files of a repository with one environment, which has one task, `one`, with a trigger."""
    return {"flow.py": FLOW.format(name=name, value=value, inputs=inputs)}


@dataclass
class Repository:
    """A checkout of a repository whose events run the action.

    Args:
        runner: has checked it out.
        services: the control plane that is deployed to.
        github: what it is told.
        name: of the environment in `flow`, where that is what is in it.
        during: told the container's name as soon as a step runs.
        options: more options of `docker run`.
    """

    runner: Runner
    services: Services
    github: GitHub
    name: str = ""
    during: Callable[[str], None] = lambda container: None
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.runner.repository = REPOSITORY
        self.runner.token = TOKEN
        self.runner.api_url = self.github.url

    def event(self, event: str, sent: dict[str, Any], ref: str = "refs/heads/main", **with_: str) -> Step:
        """Run the step for an event, with a payload; inputs have an underscore for a dash."""
        self.runner.ref = ref
        inputs = {
            "project": "flytesnacks",
            "endpoint": self.services.endpoint,
            "insecure": "true",
            "python": PYTHON,
            "path": "flow.py",
            "all": "true",
            "domain": "production",
            **{name.replace("_", "-"): value for name, value in with_.items()},
        }
        return self.runner.run(inputs, event=event, payload=sent, options=self.options, during=self.during)

    def pull(
        self,
        action: str = "opened",
        number: int = 1,
        head: str = REPOSITORY,
        author: str = "Codertocat",
        **with_: str,
    ) -> Step:
        """A pull request of the repository's own, or of another one's branch."""
        sent = payload(
            "pull_request",
            action,
            number=number,
            pull_request__head__repo__full_name=head,
            pull_request__user__login=author,
            repository__full_name=REPOSITORY,
            repository__default_branch="main",
        )
        return self.event("pull_request", sent, f"refs/pull/{number}/merge", **with_)

    def push(self, **with_: str) -> Step:
        """A push to the default branch."""
        self.github.branches["main"] = self.runner.git("rev-parse", "HEAD").strip()
        return self.event("push", self._pushed(), **with_)

    def tag(self, name: str, **with_: str) -> Step:
        """A push of a tag at this commit."""
        self.runner.git("tag", "--force", name)
        self.runner.own()
        return self.event(
            "push", {**self._pushed(), "ref": f"refs/tags/{name}"}, f"refs/tags/{name}", **with_
        )

    def release(self, tag: str, *, prerelease: bool = False, **with_: str) -> Step:
        """A GitHub release of a tag at this commit."""
        sent = payload(
            "release",
            "published",
            release__tag_name=tag,
            release__prerelease=prerelease,
            repository__full_name=REPOSITORY,
        )
        return self.event("release", sent, f"refs/tags/{tag}", **with_)

    def _pushed(self) -> dict[str, Any]:
        return payload("push", repository__full_name=REPOSITORY, repository__default_branch="main")

    def versions(self, name: str = "") -> list[str]:
        """The versions of task `one` of `flow`, oldest first."""
        wanted = f"{name or self.name}.one"
        return [task.version for task in read_tasks(self.services.data) if task.name == wanted]

    def change(self, files: dict[str, str]) -> None:
        """Commit other files."""
        for path, text in files.items():
            (self.runner.workspace / path).write_text(text)
        self.runner.git("add", "-A")
        self.runner.git("-c", "user.name=M", "-c", "user.email=m@example.com", "commit", "-q", "-m", "Change")
        self.runner.own()
