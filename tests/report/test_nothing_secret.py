"""What is known to be secret is on no page, however it is escaped or shortened."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import msgspec
import pytest
from flyteidl2.core.literals_pb2 import Literal, Primitive, Scalar

from flyte_deploy.cli import output
from flyte_deploy.errors import DeployError, NotWanted
from flyte_deploy.model import Environment, Parameter, Plan, PlannedEnvironment, PlannedTask, Target, Task
from flyte_deploy.releases.history import Deployed
from flyte_deploy.releases.promotion import Promotion
from flyte_deploy.report.json import plan_json
from flyte_deploy.report.markdown import comment, summary
from flyte_deploy.report.posted import Posted, posted
from flyte_deploy.report.releases import history_json, history_text, promotion_json, promotion_text
from flyte_deploy.report.story import Closed, Story
from flyte_deploy.report.text import plan_text
from flyte_deploy.secrets import Secrets
from flyte_deploy.specs.types import literal_text
from tests.report import plans

SHORT = "ghs_a_b:c#1"
LONG = "eyJ_" + "".join(f"{number:x}~|" for number in range(1000, 1300))
QUOTED = 'it\'s \\ a "pass-word"'
SECRETS_OF_TEST = (SHORT, LONG, QUOTED)


@pytest.fixture(autouse=True)
def _known(known: Secrets) -> None:
    known.add(*SECRETS_OF_TEST)


def check(text: str) -> None:
    """Neither as it stands there, nor as GitHub, Mermaid, a shell or a terminal would read it."""
    unescaped = html.unescape(text)
    by_mermaid = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), text)
    for read in (text, unescaped, by_mermaid, unescaped.replace("'\"'\"'", "'"), text.replace("\\\\", "\\")):
        assert SHORT not in read
        assert QUOTED not in read
        assert "pass-word" not in read
        for start in range(0, len(LONG) - 12, 4):
            assert LONG[start : start + 12] not in read


def holding(secret: str) -> tuple[str, ...]:
    # Where a text is shortened, one end of the secret would be left.
    return tuple(f"{'p' * before}{secret} after" for before in (0, 1, 30, 100, 280, 1150, 9_900))


def stories(names: tuple[str, ...]) -> Iterator[Story | Closed]:
    made = plans.hostile(names)
    for outcome in (made, plans.deployed(made)):
        yield Story("preview", outcome, root=names[1], why_plan=names[2], run_url=names[0])
    for name in names:
        yield Story("preview", DeployError(name, where=name, details=(name,), mend=name), target=name)
        yield Story("push", NotWanted(name))
        yield Closed(name, (name,), (name,), root=name)


@pytest.mark.parametrize("secret", SECRETS_OF_TEST, ids=["short", "long", "quoted"])
def test_pages_hold_no_secret(secret: str) -> None:
    for story in stories(holding(secret)):
        for text in (comment(story), summary(story), comment(story, 6000), comment(story, 900)):
            check(text)
            assert "***" in html.unescape(text) or len(text) < 900


@pytest.mark.parametrize("secret", SECRETS_OF_TEST, ids=["short", "long", "quoted"])
def test_a_posted_plan_holds_no_secret(secret: str) -> None:
    made = plans.hostile(holding(secret))
    plan = Posted("flyte-deploy/plan/1", secret, secret, (), Target(secret, secret), secret, made.difference)
    check(posted(plan, 60_000))


@pytest.mark.parametrize("secret", SECRETS_OF_TEST, ids=["short", "long", "quoted"])
def test_defaults_hold_no_secret_before_they_are_shortened(
    secret: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for before in (0, 20, 50, 190):
        text = "p" * before + secret
        literal = Literal(scalar=Scalar(primitive=Primitive(string_value=text)))
        check(literal_text(literal))
        task = Task(
            name="e.t", short_name="t", environment="e", parameters=(Parameter("x", "str", repr(text)),)
        )
        environment = PlannedEnvironment(
            Environment(key=1, name="e"), "selected", (), "", (PlannedTask(task, "register", "new"),)
        )
        made = Plan(None, "", "v", "c", (environment,), None, "", "", warnings=(text,))
        output.say(plan_text(made))
        output.document(plan_json(made))
    check(capfd.readouterr().out)


def test_histories_and_promotions_hold_no_secret(capfd: pytest.CaptureFixture[str]) -> None:
    target = Target("team", "production")
    deployed = [Deployed(SHORT, "", (SHORT,), 1, problem=QUOTED)]
    promotion = Promotion(
        "promote", target, SHORT, target, SHORT, {SHORT: QUOTED}, (SHORT,), {SHORT: SHORT}, (QUOTED,),
        {SHORT: LONG}, (SHORT,), (LONG,), (LONG,), msgspec.json.encode({"a": QUOTED}), SHORT,
    )  # fmt: skip
    output.document(history_json(target, deployed))
    output.document(promotion_json(promotion, dry_run=False))
    output.say(history_text(target, deployed))
    output.say(promotion_text(promotion, dry_run=False))
    written = capfd.readouterr().out
    check(written)
    assert written.count("***") > 10
