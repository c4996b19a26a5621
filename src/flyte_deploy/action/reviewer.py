"""What GitHub is told of a run, and what it is asked: comment, deployment, state of branch and pull request.

Nothing here fails a deploy: what goes wrong is a warning that says which permission is missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from flyte_deploy.action.events import Policy
from flyte_deploy.action.log import Log
from flyte_deploy.errors import DeployError
from flyte_deploy.report.markdown import comment
from flyte_deploy.report.story import Closed, Story
from flyte_deploy.secrets import SECRETS
from flyte_deploy.settings import Settings

if TYPE_CHECKING:
    from flyte_deploy.github.client import Repository
    from flyte_deploy.github.deployments import State, Tracked

_T = TypeVar("_T")

_PRODUCTION = "production"
"""The domain whose GitHub deployments are marked as production, as GitHub does by an environment's name."""


@dataclass
class Reviewer:
    """GitHub, for one run.

    Args:
        repository: asked with the job's token.
        policy: what is done.
        settings: the inputs.
        root: the project's folder in the repository, empty for the repository itself.
        run_url: the workflow run.
        log: gets warnings.
    """

    repository: Repository
    policy: Policy
    settings: Settings
    root: str
    run_url: str
    log: Log
    _tracked: Tracked | None = None

    def begin(self) -> None:
        """Say that a deployment is under way."""
        policy, settings = self.policy, self.settings
        off = settings.github_deployment == "off" or settings.dry_run
        if not policy.deploys or off or not policy.head:
            return
        from flyte_deploy.github.deployments import PREVIEWS, start

        what = f"pull request #{policy.number}" if policy.number else policy.target
        self._tracked = self._try(
            lambda: start(
                self.repository,
                commit=policy.head,
                environment=PREVIEWS if policy.number else settings.domain,
                root=self.root,
                number=policy.number,
                description=f"flyte-deploy {policy.do}: {what}",
                production=settings.domain == _PRODUCTION,
            )
        )

    def over(self) -> Policy | None:
        """The policy that ends a preview whose pull request was closed meanwhile; None where there is no
        reason to."""
        policy = self.policy
        pull = self._try(lambda: self.repository.pull(policy.number)) if policy.do == "preview" else None
        if pull is None or pull.open:
            return None
        why = f"pull request #{policy.number} was {'merged' if pull.merged else 'closed'} meanwhile"
        return dataclasses.replace(policy, do="close", why=why, merged=pull.merged)

    def not_wanted(self) -> str:
        """Why a deploy that is ready to register is no longer wanted; empty where it is."""
        policy = self.policy
        over = self.over()
        if over is not None:
            return over.why
        if policy.do == "push" and policy.branch and policy.head and self.settings.if_stale == "skip":
            newest = self._try(lambda: self.repository.branch_head(policy.branch))
            if newest and newest != policy.head:
                return f"{policy.branch} has moved on to {newest[:7]} meanwhile (if-stale: deploy goes on)"
        return ""

    def end(self, story: Story | None, state: State, console_url: str = "", said: str = "") -> None:
        """Say what came of it: the comment of a pull request, and the state of the deployment."""
        # A status is one request: it comes first, for there may be little time.
        tracked = self._tracked
        if tracked is not None:
            self._try(lambda: tracked.status(state, description=said, url=console_url, log_url=self.run_url))
        if story is not None:
            self.comment(story)
        if tracked is not None and state == "success":
            from flyte_deploy.github.deployments import supersede

            self._try(
                lambda: supersede(tracked, root=self.root, number=self.policy.number, log_url=self.run_url)
            )

    def close(self, closed: Closed) -> None:
        """Say that a preview is over."""
        if self.settings.github_deployment != "off":
            from flyte_deploy.github.deployments import end

            number = self.policy.number
            self._try(lambda: end(self.repository, root=self.root, number=number, log_url=self.run_url))
        self.comment(closed)

    def comment(self, story: Story | Closed) -> None:
        """Put the story into the comment of the pull request. The end of a preview alone makes none."""
        settings, number = self.settings, self.policy.number
        how = settings.comment
        if not number or how == "off" or self.policy.offline:
            return
        plan = story.plan if isinstance(story, Story) else None
        shared = bool(settings.comment_group)
        self._put(
            lambda room: comment(story, room),
            number,
            shared=shared,
            fresh=how == "new",
            create=isinstance(story, Story) and (how != "changes" or plan is None or plan.has_changes),
        )

    def whose_plan(self) -> int:
        """The pull request that a plan is posted to; 0 where it is over or has moved on, which the log says.

        Raises:
            DeployError: where GitHub refuses, where the number given is another pull request's, and where
                there are several.
        """
        policy = self.policy
        if not policy.head:
            return policy.number
        if policy.number:
            pull = self.repository.pull(policy.number)
            if pull.head != policy.head:
                raise DeployError(
                    f"pull request #{policy.number} is not at {policy.head[:7]}, the commit that was planned",
                    where="--pr-number",
                    mend="Leave out --pr-number: the pull request is found by the run's commit. A number that"
                    " the planned code could choose may be anybody's.",
                )
            found = [policy.number] if pull.open else []
        else:
            found = self.repository.pulls_at(policy.source, policy.branch, policy.head)
        if len(found) > 1:
            raise DeployError(
                f"several pull requests are at {policy.head[:7]}: {', '.join(f'#{one}' for one in found)}",
                where="--pr-number",
                mend="Say with --pr-number which of them gets the plan.",
            )
        if not found:
            where = f"{policy.source}:{policy.branch}"
            self.log.warning(f"no plan is posted: no open pull request of {where} is at {policy.head[:7]}")
        return found[0] if found else 0

    def post(self, text: Callable[[int], str], number: int, *of: str) -> None:
        """Put a text that was made elsewhere into a comment of its own, known by what it is `of`.

        Raises:
            DeployError: where GitHub refuses: it is all that there was to do.
        """
        self._put(text, number, shared=bool(self.settings.comment_group), strict=True, of=("posted", *of))

    def _put(
        self,
        render: Callable[[int], str],
        number: int,
        *,
        shared: bool,
        fresh: bool = False,
        create: bool = True,
        strict: bool = False,
        of: tuple[str, ...] = (),
    ) -> None:
        from flyte_deploy.github.comments import put_comment
        from flyte_deploy.github.marker import key_of

        group = self.settings.comment_group
        of = of or (self.policy.target, self.root)
        key = key_of("group", group) if group else key_of("target", *of)

        def put() -> str:
            return put_comment(
                self.repository,
                number,
                key=key,
                part=key_of(*of),
                render=lambda room: SECRETS.redact(render(room)),
                fresh=fresh,
                create=create,
                shared=shared,
            )

        url = put() if strict else self._try(put)
        if url:
            self.log.line(f"comment {url}")

    def _try(self, ask: Callable[[], _T]) -> _T | None:
        try:
            return ask()
        except DeployError as error:
            self.log.warning(f"{error.what}. {error.mend}" if error.mend else error.what)
            return None


def reviewer_of(
    environ: Mapping[str, str], settings: Settings, policy: Policy, root: str, log: Log
) -> Reviewer | None:
    """GitHub with the token of the inputs; None where there is no token."""
    name = environ.get("GITHUB_REPOSITORY", "")
    if not settings.github_token or not name:
        return None
    from flyte_deploy.github.client import Repository
    from flyte_deploy.records.record import origin_of

    api_url = environ.get("GITHUB_API_URL") or "https://api.github.com"
    repository = Repository(name, settings.github_token, api_url)
    return Reviewer(repository, policy, settings, root, origin_of(environ)["run"], log)
