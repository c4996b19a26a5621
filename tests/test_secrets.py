"""The registry of secrets: what is known, in all its forms, is hidden wherever it could be seen."""

from __future__ import annotations

import base64

from flyte_deploy import secrets
from flyte_deploy.clock import redacting
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Progress
from flyte_deploy.secrets import Secrets, named_like_secrets


def test_a_secret_is_hidden_in_every_form() -> None:
    found = Secrets()
    found.add("pa/ss w+rd%")
    quoted = ("pa/ss w+rd%", "pa%2Fss%20w%2Brd%25", "pa/ss%20w%2Brd%25", "pa%2Fss+w%2Brd%25")
    for form in quoted:
        assert found.redact(f"a {form} b") == "a *** b"


def test_the_longest_comes_first_and_lines_are_secrets_too() -> None:
    found = Secrets()
    found.add("abcdef", "abcdefghi", "first line\n  second line\n")
    assert found.redact("abcdefghi abcdef second line first line") == "*** *** *** ***"


def test_what_is_short_would_be_in_every_word() -> None:
    found = Secrets()
    found.add("", "abc", " \n ")
    assert found.values() == ()
    assert found.redact("abc") == "abc"


def test_a_login_is_known_as_its_header_too() -> None:
    found = Secrets()
    found.add_login("client", "p/w of client")
    for password in ("p/w of client", "p%2Fw+of+client"):
        header = base64.b64encode(f"client:{password}".encode()).decode()
        assert found.redact(f"Basic {header}, {password}") == "Basic ***, ***"


def test_variables_are_secrets_by_their_names() -> None:
    environ = {
        "AWS_SECRET_ACCESS_KEY": "abc/def+ghi",
        "DEPLOY_TOKEN": "first-line\nsecond-line",
        "INPUT_API-KEY": "key of the input",
        "GOOGLE_APPLICATION_CREDENTIALS": "/etc/hostname",
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "HTTPS_PROXY": "http://ali:open-sesame@proxy:3128",
        "HOME": "/home/someone",
    }
    assert named_like_secrets(environ) == ("abc/def+ghi", "first-line\nsecond-line", "key of the input")
    found = Secrets()
    found.add_named(environ)
    assert (
        found.redact("x abc/def+ghi y second-line open-sesame AKIAEXAMPLE") == "x *** y *** *** AKIAEXAMPLE"
    )


def test_a_document_is_hidden_text_by_text() -> None:
    found = Secrets()
    found.add('quo"ted')
    document = {"a": ['x quo"ted', 1, None, ("quo",)], 'quo"ted': True}
    assert found.redacted(document) == {"a": ["x ***", 1, None, ["quo"]], "***": True}


def test_who_listens_hears_of_each_form_once_before_it_is_used() -> None:
    found = Secrets()
    found.add("known before")
    heard: list[str] = []
    end = found.on_added(heard.append)
    found.add("new-secret", "known before")
    end()
    found.add("after the end")
    assert heard == ["known%20before", "known before", "known+before", "new-secret"]


def test_only_the_deployer_s_own_are_kept_from_what_it_starts() -> None:
    found = Secrets()
    found.add("of another")
    found.add("of ourselves", own=True)
    assert (found.is_own("of another"), found.is_own("of ourselves")) == (False, True)


def test_errors_and_progress_hide_what_is_known(known: Secrets) -> None:
    known.add("open sesame")
    error = DeployError("said open sesame", where="open sesame", mend="open sesame", details=("open sesame",))
    assert "sesame" not in f"{error} {error!r} {error.args} {error.details}"
    told: list[Progress] = []
    listen = redacting(told.append)
    listen(Progress("output", "user code said open sesame"))
    listen(Progress("output", "nothing"))
    assert [one.text for one in told] == ["user code said ***", "nothing"]


def test_the_registry_itself_shows_nothing() -> None:
    found = Secrets()
    found.add("open sesame")
    assert "sesame" not in f"{found!r} {found}"
    assert secrets.HIDDEN == "***"
