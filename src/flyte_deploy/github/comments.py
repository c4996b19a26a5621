"""The one comment of a pull request: found, created, updated in place."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from flyte_deploy.errors import DeployError
from flyte_deploy.github.client import Repository
from flyte_deploy.github.marker import composed, is_ours, parts_of, room
from flyte_deploy.report.markdown import COMMENT_LIMIT, is_foot
from flyte_deploy.report.page import without_folded
from flyte_deploy.secrets import SECRETS

PERMISSION = "pull-requests: write"
_ROUNDS = 8
_ACTIONS = "github-actions[bot]"

Render = Callable[[int], str]
"""Renders a part of a comment, given how many characters there is room for."""


def put_comment(
    repository: Repository,
    number: int,
    *,
    key: str,
    part: str,
    render: Render,
    fresh: bool = False,
    create: bool = True,
    shared: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Put a part into the comment, and return the comment's address; empty where there is none.

    The comment is the oldest of ours with the marker; further ones, of runs that started side by side, are
    taken together into it. GitHub knows no conditional update: where others share the comment, it is read
    again after writing, until what we wrote is there.

    Args:
        repository: where.
        number: the pull request.
        key: of the comment.
        part: of it, the key of ours.
        render: renders it.
        fresh: True for a new comment, beside those that are there; nothing of them is taken or deleted.
        create: False to write nothing where there is no comment of ours yet.
        shared: whether other steps write to the same comment.
        pause: waits for some seconds.

    Raises:
        DeployError: where GitHub cannot be asked, refuses, or the pull request is not there; and where
            others have written over ours each time.
    """
    with repository.asking(f"commenting on pull request #{number}", PERMISSION):
        # One request less than the pull request itself, and all that comments need.
        issue = repository.repository.get_issue(number)
        if fresh:
            if not create and not _ours(issue, key, repository.login()):
                return ""
            text = composed(key, {part: SECRETS.redact(render(_room({}, part)))})
            return str(issue.create_comment(text).html_url)
        author = repository.login()
        url = ""
        for round_ in range(_ROUNDS):
            found = _ours(issue, key, author)
            known = _together(found)
            text = SECRETS.redact(render(_room(known, part)))
            if round_ and known.get(part) == _as_kept(text, part) and len(found) == 1:
                break
            body = _fitted(key, {**known, part: text}, part)
            if found:
                first, *others = found
                same = first.body.replace("\r\n", "\n").rstrip("\n") == body.rstrip("\n")
                if not same and not _unless_gone(partial(first.edit, body)):
                    continue
                for other in others:
                    _unless_gone(other.delete)
                url = str(first.html_url)
            elif create:
                made = issue.create_comment(body)
                # What we are called is known now.
                author = author or str(made.user.login)
                url = str(made.html_url)
            else:
                return ""
            if not shared and found:
                break
            pause(0.5 + random.random() * (1 + round_) if shared else 0)  # noqa: S311
        else:
            raise DeployError(
                f"the comment of pull request #{number} was changed by others each of {_ROUNDS} times that it"
                " was written: what is to be read there may not be ours",
                where=url or repository.api_url,
                mend="Let fewer jobs share a comment (comment-group), or run this one again.",
            )
        return url


def _room(parts: dict[str, str], part: str) -> int:
    return room(parts, part, COMMENT_LIMIT)


def _as_kept(text: str, part: str) -> str | None:
    return parts_of(composed("0" * 16, {part: text})).get(part)


def _fitted(key: str, parts: dict[str, str], ours: str) -> str:
    """The body; where parts of others leave no room, the longest lose what is folded, and then all but their
    first line and the link to their run."""
    parts = dict(parts)
    for shorter in (without_folded, _ends):
        for name in sorted(parts, key=lambda name: -len(parts[name])):
            if len(composed(key, parts)) <= COMMENT_LIMIT:
                break
            if name != ours:
                parts[name] = shorter(parts[name])
    return composed(key, parts)


def _ends(text: str) -> str:
    first, *rest = text.strip("\n").split("\n")
    return "\n\n".join([first, *(line for line in rest[-1:] if is_foot(line))])


def _together(comments: list[Any]) -> dict[str, str]:
    """The parts of all comments; of a part in several the one that was written last."""
    parts: dict[str, str] = {}
    for comment in sorted(comments, key=lambda one: one.updated_at):
        parts.update(parts_of(comment.body or ""))
    return parts


def _ours(issue: Any, key: str, author: str | None) -> list[Any]:
    """Our comments, the oldest first.

    Where the token may not ask who it is, it is an app's: nobody but an app can be a bot.
    """
    marked = [one for one in issue.get_comments() if is_ours(one.body or "", key) and one.user is not None]
    if author is not None:
        found = [one for one in marked if one.user.login == author]
    else:
        bots = [one for one in marked if one.user.type == "Bot"]
        found = [one for one in bots if one.user.login == _ACTIONS] or bots
        found = [one for one in found if one.user.login == found[0].user.login]
    return sorted(found, key=lambda one: one.id)


def _unless_gone(change: Callable[[], Any]) -> bool:
    """Change a comment; False where somebody has deleted it meanwhile."""
    from github import UnknownObjectException

    try:
        change()
    except UnknownObjectException:
        return False
    return True
