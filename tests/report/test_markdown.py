"""Comments and summaries: what they say, that nothing in them acts, that they fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flyte_deploy.errors import DeployError, NotWanted
from flyte_deploy.model import Step
from flyte_deploy.report.escape import block, code
from flyte_deploy.report.markdown import COMMENT_LIMIT, SUMMARY_LIMIT, comment, summary
from flyte_deploy.report.page import FOLDED
from flyte_deploy.report.story import Closed, Story
from flyte_deploy.specs.changes import FileChange
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
    assert "**Breaks callers:** <code>train.fit</code>: <code>input name removed (str)</code>" in lines
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


@pytest.mark.parametrize("limit", [3000, 1500, 900])
def test_a_long_failure_keeps_its_ends(limit: int) -> None:
    lines = tuple(f"line {number} of what BuildKit said" for number in range(2000))
    error = DeployError("the image failed", details=lines, mend="Mend the Dockerfile.")
    text = comment(story(error, begun=frozenset({"images"}), root="apps/a"), limit)
    assert len(text) <= limit
    page = Page(text)
    check(page)
    assert text.count("```") == 2
    shown = page.codes[1]
    assert shown.startswith("the image failed\n  line 0 of")
    assert shown.endswith("line 1999 of what BuildKit said\nMend the Dockerfile.\n")
    assert f"[job summary]({RUN})" in text
    assert "Nothing was registered. The bundle or images may be published already" in page.outside
    assert text.rstrip().splitlines()[-1].startswith(f"<sub>[Workflow run]({RUN})")


@pytest.mark.parametrize("limit", [5000, 1000, 600, 400, 250, 120, 60, 24, 5])
def test_no_markup_is_cut_however_little_room_there_is(limit: int) -> None:
    outcomes = (
        plans.deployed(plans.large()),
        plans.deployed(plans.hostile()),
        DeployError("x" * 9000),
        NotWanted("```" * 3000),
        Closed("`" * 3000, tuple(plans.HOSTILE), tuple(plans.HOSTILE)),
    )
    for outcome in outcomes:
        told = outcome if isinstance(outcome, Closed) else story(outcome, root="<b>" * 90)
        text = comment(told, limit)
        assert len(text) <= limit
        check(Page(text))
        assert text.startswith("### Flyte preview"[:limit])


def test_what_is_left_out_is_named() -> None:
    text = comment(story(plans.deployed(plans.large())), 3000)
    assert "No room here for: Environments (200)" in text
    assert f" - [job summary]({RUN})" in text
    # In the summary itself there is nothing more to point to.
    assert "[job summary]" not in summary(story(plans.deployed(plans.large())), 6000)


def test_files_that_changed_come_first() -> None:
    made = plans.large()
    assert made.difference is not None
    files = (FileChange("src/module_7.py", "changed"), FileChange("src/old.py", "removed"))
    made = replace(made, difference=replace(made.difference, files=files))
    rows = [line for line in comment(story(plans.deployed(made)), 20_000).splitlines() if "src/" in line]
    assert "src/old.py" in rows[0]
    assert "removed" in rows[0]
    assert "src/module&#95;7.py" in rows[1]
    assert "changed" in rows[1]
    assert "src/module&#95;2999.py" in rows[2]


def test_how_long_it_took_is_the_time_that_passed() -> None:
    # The bundle is sent while images are built.
    steps = (
        Step("collect", 2.0),
        Step("publish", 9.0, 2.5),
        Step("images", 10.0, 2.5),
        Step("register", 1.0, 12.5),
    )
    made = replace(plans.small(), steps=steps)
    assert "Took 13.5 s. " in comment(story(plans.deployed(made)))
    assert "1 image built in 10 s." in comment(story(plans.deployed(made)))
    same = replace(plans.plan(plans.SMALL, {}), steps=steps[:1])
    for outcome in (same, plans.deployed(same)):
        assert "Took 2.0 s. Nothing had to be built, uploaded or registered." in comment(story(outcome))


def test_digests_are_whole() -> None:
    text = comment(story(plans.deployed(plans.small())))
    for two in ("01", "02"):
        assert f"sha256:{two * 32}" in Page(text).codes


def test_what_was_given_up() -> None:
    text = summary(Story("push", NotWanted("main has moved on to 1234567 meanwhile"), run_url=RUN))
    assert text.startswith("### Flyte deployment: given up\n")
    assert "Nothing was registered: <code>main has moved on to 1234567 meanwhile</code>" in text


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
    told = story(plans.deployed(made))  # type: ignore[arg-type]
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
    text = comment(story(made))
    assert " more |" in text
    assert f"[job summary]({RUN})" in text
    lines = text.splitlines()
    # The largest are there, and the count of tasks is that of all.
    assert any("src/module&#95;2999" in line for line in lines)
    assert "<summary>Tasks (2,000)</summary>" in text
