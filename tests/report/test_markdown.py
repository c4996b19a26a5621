"""Comments and summaries: what they say, that nothing in them acts, that they fit."""

from __future__ import annotations

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.report.escape import block, code
from flyte_deploy.report.markdown import COMMENT_LIMIT, SUMMARY_LIMIT, comment, summary
from flyte_deploy.report.page import FOLDED
from flyte_deploy.report.story import Closed, Story
from tests.report import plans
from tests.report.render import Page

CONSOLE = "https://flyte.example.com/v2/domain/development/project/flytesnacks/tasks"
RUN = "https://github.com/team/project/actions/runs/1"
OURS = {"h3", "p", "code", "pre", "a", "details", "summary", "table", "thead", "tbody", "tr", "th", "td",
        "strong", "br", "ul", "li", "sub"}  # fmt: skip


def story(outcome: object, **more: object) -> Story:
    return Story("preview", outcome, console_url=CONSOLE, run_url=RUN, commit="a1" * 20, **more)  # type: ignore[arg-type]


def check(page: Page) -> None:
    """Nothing but our own tags and links, whole tables, and nothing outside of code that GitHub acts on."""
    assert page.problems == []
    assert page.tags <= OURS
    assert set(page.links) <= {CONSOLE, RUN}
    assert page.attributes <= {("a", "href"), ("pre", "lang"), ("details", "open")}
    assert [comment for comment in page.comments if comment.strip()] in ([], [FOLDED[4:-3]] * 2)
    for table in page.tables:
        assert len(set(table)) == 1, table
    for sign in ("@", "#", "http", "www.", "octocat", ":tada:", "$", "GH-1", "evil"):
        assert sign not in page.outside, sign


def test_what_a_reviewer_sees_first() -> None:
    text = comment(story(plans.deployed(plans.small())))
    page = Page(text)
    check(page)
    lines = " ".join(text.partition("<details>")[0].split("\n"))
    assert lines.startswith("### Flyte preview: deployed to <code>flytesnacks/development</code>")
    assert "Registered 5 tasks of 5 environments from commit <code>a1a1a1a</code>" in lines
    assert f"[tasks in Flyte's console]({CONSOLE})" in lines
    assert "```text pr-12-0123456789abcdef01234567 ```" in lines
    assert "1 new, 2 changed, 2 unchanged but for the bundle, 2 unchanged, 1 gone from the code" in lines
    assert "**Breaks callers:** <code>train.fit</code> <code>input name removed (str)</code>" in lines
    assert (
        "Took 44.1 s. The bundle (870 B) was uploaded. 1 image built in 42 s. 1 image there already." in lines
    )
    titles = [line for line in text.splitlines() if line.startswith("<details>")]
    assert [title.split("<summary>")[1].split("<")[0].split(" (")[0] for title in titles] == [
        "Tasks",
        "Environments",
        "Images",
        "Bundle",
        "Warnings",
        "Run a task of this version",
    ]
    assert "flyte run -p flytesnacks -d development deployed-task ingest.clean:pr-12-" in text


def test_nothing_of_a_hostile_project_acts() -> None:
    for made in (plans.hostile(), plans.deployed(plans.hostile())):
        page = Page(comment(story(made, root="@octocat|<b>#1")))
        check(page)
        page = Page(summary(story(made, root="@octocat|<b>#1")))
        check(page)


@pytest.mark.parametrize("text", plans.HOSTILE)
def test_hostile_text_reads_as_it_is_written(text: str) -> None:
    page = Page(f"| a | b |\n|---|---|\n| {code(text)} | x |\n\nIn a line: {code(text)}.\n\n{block(text)}\n")
    assert page.problems == []
    assert page.tables == [[2, 2]]
    assert page.links == []
    in_cell, in_line, in_block = page.codes
    assert in_cell == in_line
    shown = text.encode("utf-8", "replace").decode().replace("\x1b[31m", "").replace("\x07", "")
    shown = shown.replace("\u202e", "").replace("\u202c", "")
    if len(text) < 300:
        assert in_line == " ".join(shown.split())
        assert in_block.rstrip("\n").split() == shown.replace("<!--", "<! --").split()


@pytest.mark.parametrize("text", plans.HOSTILE)
def test_a_hostile_error(text: str) -> None:
    error = DeployError(text or "x", where=text, details=(text, text), mend=text)
    page = Page(comment(story(error, begun=frozenset())))
    check(page)
    assert "Nothing was published or registered." in page.outside


def test_a_failure_says_what_the_log_says() -> None:
    error = DeployError("it failed", where="flow.py:3", details=("one", "two"), mend="Mend it.")
    text = comment(story(error, begun=frozenset({"collect", "register"}), target="team/production"))
    assert "### Flyte preview failed in <code>team/production</code>" in text
    assert "it failed\nwhere: flow.py:3\n  one\n  two\nMend it." in Page(text).codes[1]
    assert "some tasks may be registered" in text
    assert "may be published already" in comment(story(error, begun=frozenset({"collect", "publish"})))
    assert "registered" not in comment(story(error))


def test_a_closed_pull_request() -> None:
    text = comment(
        Closed("flytesnacks/development", ("pr-1-a",), ("jobs.work/nightly",), merged=True, run_url=RUN)
    )
    page = Page(text)
    check(page)
    assert "The pull request was merged." in page.outside
    assert "Flyte deletes no versions" in page.outside
    assert "jobs.work/nightly" in page.codes


def test_nothing_changed_and_a_plan() -> None:
    same = plans.plan(plans.SMALL, {})
    assert "### Flyte preview: nothing to do" in comment(story(plans.deployed(same)))
    text = comment(story(plans.small(), why_plan="a fork's pull request has no credentials"))
    assert "### Flyte preview: what would be done" in text
    assert "Nothing was deployed: <code>a fork's pull request has no credentials</code>" in text


@pytest.mark.parametrize(
    "made",
    [plans.large(), plans.large(changed=200), plans.large(400, 20_000, 400), plans.hostile()],
    ids=["large", "all changed", "huge", "hostile"],
)
def test_pages_fit(made: object) -> None:
    told = story(plans.deployed(made), summary_url=RUN)  # type: ignore[arg-type]
    small = comment(told)
    assert len(small) <= COMMENT_LIMIT
    check(Page(small))
    assert small.startswith("### Flyte preview: deployed")
    whole = summary(told)
    assert len(whole.encode()) <= SUMMARY_LIMIT
    check(Page(whole))
    for limit in (20_000, 5_000, 2_000):
        assert len(comment(told, limit)) <= limit
        check(Page(comment(told, limit)))


def test_what_is_left_out_is_counted_in_the_middle() -> None:
    made = plans.deployed(plans.large(changed=200))
    text = comment(story(made, summary_url=RUN))
    assert " more |" in text
    assert f"[job summary]({RUN})" in text
    lines = text.splitlines()
    # The largest are there, and the count of tasks is that of all.
    assert any("src/module&#95;2999" in line for line in lines)
    assert "<summary>Tasks (2,000)</summary>" in text
