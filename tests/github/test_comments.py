"""The comment of a pull request, on an API that keeps what is written."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.github.client import Repository
from flyte_deploy.github.comments import put_comment
from flyte_deploy.github.marker import composed, is_ours, key_of, parts_of
from flyte_deploy.report.markdown import COMMENT_LIMIT
from tests.github.server import REPOSITORY, TOKEN, Fault, GitHub, running
from tests.report import plans

KEY, PART = key_of("a"), key_of("b")


def put(repository: Repository, text: str = "### hello", part: str = PART, **more: Any) -> str:
    return put_comment(repository, 1, key=KEY, part=part, render=lambda _: text, **more)


def writes(github: GitHub) -> list[str]:
    return [method for method, _, _ in github.requests if method != "GET"]


def test_it_is_created_once_and_then_updated_in_place(github: GitHub, repository: Repository) -> None:
    url = put(repository)
    assert url.startswith("https://github.com/team/project/pull/1#issuecomment-")
    assert put(repository, "### other") == url
    (body,) = github.bodies()
    assert parts_of(body)[PART].strip() == "### other"
    assert writes(github) == ["POST", "PATCH"]
    assert put(repository, "### other") == url
    assert writes(github) == ["POST", "PATCH"]


def test_a_comment_of_somebody_else_is_not_ours(github: GitHub, repository: Repository) -> None:
    forged = composed(KEY, {PART: "forged"})
    github.comment(forged, author="mallory")
    github.comment(f"quoted:\n{forged}")
    put(repository)
    bodies = github.bodies()
    assert len(bodies) == 3
    assert bodies[0] == forged
    github.user = github.author = "octocat"
    put(repository, "as octocat")
    assert len(github.bodies()) == 4


def test_a_token_of_a_user_finds_its_own(github: GitHub, repository: Repository) -> None:
    github.user = github.author = "octocat"
    github.comment(composed(KEY, {PART: "of the bot"}))
    put(repository, "one")
    put(repository, "two")
    assert len(github.bodies()) == 2
    assert parts_of(github.bodies()[1])[PART].strip() == "two"


def test_a_comment_that_was_deleted_is_made_again(github: GitHub, repository: Repository) -> None:
    put(repository)
    github.comments.clear()
    put(repository)
    assert len(github.bodies()) == 1
    removed: list[object] = []

    def gone(method: str, path: str) -> None:
        # Somebody deletes it between our reading and our writing.
        if method == "PATCH" and not removed:
            removed.append(github.comments.popitem())

    github.before = gone
    put(repository, "### other")
    assert removed
    assert [parts_of(body)[PART].strip() for body in github.bodies()] == ["### other"]


def test_two_comments_with_our_marker_become_one(github: GitHub, repository: Repository) -> None:
    other = key_of("c")
    github.comment(composed(KEY, {PART: "old"}))
    github.comment(composed(KEY, {other: "of another step"}))
    put(repository, "new", shared=True, pause=lambda _: None)
    (body,) = github.bodies()
    assert {name: text.strip() for name, text in parts_of(body).items()} == {
        PART: "new",
        other: "of another step",
    }


def test_new_ones_each_time_and_none_where_there_is_none(github: GitHub, repository: Repository) -> None:
    assert put(repository, create=False) == ""
    assert github.bodies() == []
    put(repository, fresh=True)
    put(repository, fresh=True)
    assert len(github.bodies()) == 2


def test_it_is_found_among_hundreds(github: GitHub, repository: Repository) -> None:
    for number in range(250):
        github.comment(f"chatter {number}", author="octocat")
    put(repository, "one")
    put(repository, "two")
    assert len(github.bodies()) == 251


def test_secrets_are_not_sent(github: GitHub, repository: Repository) -> None:
    put(repository, f"the password is hunter2-hunter2, the token {TOKEN}")
    (body,) = github.bodies()
    assert "the password is ***, the token ***" in body
    assert TOKEN not in repr(repository)


@pytest.mark.parametrize("text", plans.HOSTILE)
def test_foreign_text_is_no_marker(text: str) -> None:
    from flyte_deploy.report.escape import block, code

    part = f"{code(text)}\n\n{block(composed(KEY, {PART: text}))}"
    body = composed(KEY, {PART: part})
    assert parts_of(body).keys() == {PART}
    assert is_ours(body, KEY)
    assert not is_ours(f"x{body}", KEY)
    assert not is_ours(body, key_of("another"))


def test_those_who_share_a_comment_all_fit(github: GitHub, repository: Repository) -> None:
    for number in range(20):
        put_comment(
            repository,
            1,
            key=KEY,
            part=key_of(str(number)),
            render=lambda room, number=number: f"### leg {number:02d}\n" + "x" * (room - 20),  # type: ignore[misc]
            shared=True,
            pause=lambda _: None,
        )
    (body,) = github.bodies()
    assert len(body) <= COMMENT_LIMIT
    parts = parts_of(body)
    assert len(parts) == 20
    assert [text.strip().partition("\n")[0] for text in parts.values()] == [
        f"### leg {number:02d}" for number in range(20)
    ]


def _leg(url: str, number: int, ready: Any) -> None:
    repository = Repository(REPOSITORY, TOKEN, url)
    ready.wait()
    put_comment(
        repository, 1, key=KEY, part=key_of(str(number)), render=lambda _: f"### leg {number}", shared=True
    )


def test_legs_of_a_matrix_lose_nothing_when_they_race() -> None:
    legs = 6
    context = multiprocessing.get_context("spawn")
    with running() as github:
        ready = context.Barrier(legs)
        processes = [context.Process(target=_leg, args=(github.url, number, ready)) for number in range(legs)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0] * legs
        assert github.problems == []
        (body,) = github.bodies()
        assert sorted(text.strip() for text in parts_of(body).values()) == [
            f"### leg {number}" for number in range(legs)
        ]


LIMITED = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", "comments", 502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
        Fault("GET", "comments", 500, {"message": "Server Error"}),
        Fault("POST", "comments", 403, LIMITED, {"Retry-After": "1"}),
        Fault("POST", "comments", 429, LIMITED),
        Fault("PATCH", "comments", 502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
        Fault("PATCH", "comments", 403, LIMITED),
        Fault("PATCH", "comments", 403, LIMITED, {"Retry-After": "1"}),
        Fault("PATCH", "comments", 429, LIMITED),
        Fault("PATCH", "comments", 429, LIMITED, {"Retry-After": "1"}),
        Fault("PATCH", "comments", 429, LIMITED, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}),
        Fault("DELETE", "comments", 503, {"message": "Service Unavailable"}),
        Fault("GET", "issues/1/comments$", 403, {"message": "API rate limit exceeded for installation ID 1."},
              {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}),
    ],
)  # fmt: skip
def test_what_passes_is_repeated(github: GitHub, repository: Repository, fault: Fault) -> None:
    if fault.method in ("PATCH", "DELETE"):
        github.comment(composed(KEY, {PART: "old"}))
    if fault.method == "DELETE":
        github.comment(composed(KEY, {PART: "older"}))
    github.faults.append(fault)
    put(repository)
    assert fault.times == 0
    (body,) = github.bodies()
    assert parts_of(body)[PART].strip() == "### hello"


def test_a_comment_that_a_lost_answer_has_doubled_is_one_again(
    github: GitHub, repository: Repository
) -> None:
    # GitHub has made it, and says that it has not.
    fault = Fault("POST", "comments", 502, b"", applied=True)
    github.faults.append(fault)
    put(repository)
    assert fault.times == 0
    assert writes(github) == ["POST", "POST", "DELETE"]
    assert len(github.bodies()) == 1


@pytest.mark.parametrize(
    ("fault", "what", "mend"),
    [
        (Fault("GET", "", 401, {"message": "Bad credentials"}, times=99),
         "Bad credentials", "token is not valid"),
        (Fault("POST", "comments", 403, {"message": "Resource not accessible by integration"}, times=99),
         "Resource not accessible", "`pull-requests: write`"),
        (Fault("GET", "", 404, {"message": "Not Found"}, times=99), "Not Found", "`pull-requests: write`"),
        (Fault("POST", "comments", 422, {"message": "Validation Failed", "errors": ["locked"]}, times=99),
         "Validation Failed (locked)", "debug logging"),
        (Fault("POST", "comments", 403, LIMITED, {"Retry-After": "600"}, times=99),
         "limited for 600 s more", "run it again later"),
        (Fault("POST", "comments", 429, LIMITED, {"Retry-After": "600"}, times=99),
         "limited for 600 s more", "run it again later"),
        (Fault("GET", "", 502, {"message": "Server Error"}, times=99),
         "keeps refusing", "run it again later"),
        (Fault("GET", "", 200, b"<html>log in</html>", {"Content-Type": "text/html"}, times=99), "", ""),
        (Fault("GET", "", 403, {"message": "API rate limit exceeded"},
               {"X-RateLimit-Reset": "99999999999"}, times=99), "rate limit", ""),
    ],
)  # fmt: skip
def test_what_stays_is_said(
    github: GitHub, repository: Repository, fault: Fault, what: str, mend: str
) -> None:
    github.faults.append(fault)
    with pytest.raises(DeployError) as caught:
        put(repository)
    assert what in caught.value.what
    assert mend in (caught.value.mend or "")
    assert TOKEN not in str(caught.value)


def test_a_pull_request_that_is_not_there(github: GitHub, repository: Repository) -> None:
    with pytest.raises(DeployError, match=r"commenting on pull request #77: Not Found"):
        put_comment(repository, 77, key=KEY, part=PART, render=lambda _: "x")


def test_nobody_answers() -> None:
    repository = Repository(REPOSITORY, TOKEN, "http://127.0.0.1:9/api/v3")
    stop = threading.Event()
    with pytest.raises(DeployError, match="GitHub cannot be reached"):
        put_comment(repository, 1, key=KEY, part=PART, render=lambda _: "x")
    stop.set()
