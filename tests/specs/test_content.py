"""The content version moves with the content and with nothing else."""

from __future__ import annotations

from flyte_deploy.model import Environment, Task
from flyte_deploy.specs.content import LENGTH, content_version


def task(name: str = "e.t", request: bytes = b"request") -> Task:
    return Task(name=name, short_name="t", environment="e", request=request)


def version(
    *tasks: Task, digest: str = "d", image: str = "registry.example/i:1", others: tuple[Environment, ...] = ()
) -> str:
    environment = Environment(key=0, name="e", tasks=tasks or (task(),))
    return content_version([environment, *others], bundle_digest=digest, images={"e": image})


def test_the_version_is_pinned() -> None:
    # A change here gives every project a new version: it needs a line in the change log.
    assert version() == "9714e0cabe3bfbf72885db1b"
    assert len(version()) == LENGTH


def test_everything_that_counts_moves_it() -> None:
    versions = {
        version(),
        version(digest="other"),
        version(image="registry.example/i:2"),
        version(task(request=b"other")),
        version(task("e.u")),
        version(task(), task("e.u")),
        version(others=(Environment(key=1, name="f"),)),
    }
    assert len(versions) == 7


def test_order_and_memory_addresses_do_not() -> None:
    one, other = task("e.a"), task("e.b")
    assert version(one, other) == version(other, one)
    at = [task(request=b"<class at 0x7f%02xb0c1d2e3>" % number) for number in (1, 2)]
    assert version(at[0]) == version(at[1])
    assert version(task(request=b"0xdeadbeef")) != version(task(request=b"0xdeadbeee"))


def test_parts_do_not_run_together() -> None:
    assert version(task("e.ab", b"c")) != version(task("e.a", b"bc"))
