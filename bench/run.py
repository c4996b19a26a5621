"""Measures ``flyte-deploy`` against ``flyte deploy`` of the same environment: ratios, in one run.

Both work against an embedded control plane on loopback, fresh for each first deploy. The peer runs with
DO_NOT_TRACK=1: it would report to a service at each run otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.stores import servers
from tests.stores.wire import wire

from bench import projects
from bench.measure import Run, control_plane, run

BIN = Path(sys.executable).parent
OURS = str(BIN / "flyte-deploy")
PEER = str(BIN / "flyte")
TARGET = ("--project", "flytesnacks", "--domain", "development")
QUIET = {"DO_NOT_TRACK": "1"}


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, our figure, the other, what their ratio must not exceed."""

    name: str
    ours: str
    peer: str
    ratio: float | None
    limit: float

    @property
    def verdict(self) -> str:
        if self.ratio is None:
            return "no figure"
        return "reached" if self.ratio <= self.limit else "MISSED"


def deploy(
    endpoint: str,
    folder: Path,
    *arguments: str,
    memory: bool = False,
    limit: float = 600,
    environment: Mapping[str, str] = {},
) -> Run:
    """Our deploy of all environments of a folder."""
    command = [OURS, "deploy", "--recursive", ".", "--endpoint", endpoint, "--insecure", *TARGET, *arguments]
    result = run(command, folder=folder, environment={**QUIET, **environment}, memory=memory, limit=limit)
    if result.status:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.output}")
    return result


def peer_deploy(endpoint: str, folder: Path, home: Path, *arguments: str, limit: float = 600) -> Run:
    """The peer's deploy of all environments of a folder. Its caches lie in `home`."""
    command = [PEER, "--endpoint", f"dns:///{endpoint}", "--insecure", "deploy", "--recursive"]
    command += [*TARGET, *arguments, "."]
    result = run(command, folder=folder, environment={**QUIET, "HOME": str(home)}, limit=limit)
    if result.status and result.seconds is not None:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.output[-3000:]}")
    return result


class Bench:
    """The measurements, each in its own folders below `folder`; the peer is ended after `cap` seconds."""

    def __init__(self, folder: Path, cap: float) -> None:
        self.folder = folder
        self.cap = cap

    def _project(self, name: str, make: Callable[[Path], None]) -> Path:
        folder = self.folder / name
        make(folder)
        return folder

    def _measured(self, name: str, folder: Path, *arguments: str, peer: bool = True) -> dict[str, Run]:
        """First and second deploy, ours and the peer's, each on a fresh control plane."""
        figures: dict[str, Run] = {}
        with control_plane([OURS], self.folder / f"{name}-ours") as endpoint:
            figures["ours first"] = deploy(endpoint, folder, *arguments)
            figures["ours again"] = min(
                (deploy(endpoint, folder, *arguments) for _ in range(3)), key=lambda r: r.seconds or 0
            )
        if peer:
            home = self.folder / f"{name}-home"
            home.mkdir()
            with control_plane([OURS], self.folder / f"{name}-peer") as endpoint:
                figures["peer first"] = peer_deploy(endpoint, folder, home, *arguments, limit=self.cap)
                if figures["peer first"].seconds is not None:
                    figures["peer again"] = peer_deploy(endpoint, folder, home, *arguments, limit=self.cap)
        return figures

    def independent(self) -> list[Row]:
        """100 independent environments, 1,000 tasks."""
        folder = self._project("independent", lambda f: projects.environments(f, 100))
        figures = self._measured("independent", folder)
        return [
            _row("1,000 tasks, first deploy", figures["ours first"], figures["peer first"], 1 / 10),
            _row("1,000 tasks, unchanged", figures["ours again"], figures["peer again"], 1 / 20),
        ]

    def chain(self) -> list[Row]:
        """The same as a chain of depends_on, against our own figure for independent ones."""
        folder = self._project("chain", lambda f: projects.environments(f, 100, chain=True))
        independent = self._project("chain-independent", lambda f: projects.environments(f, 100))
        with control_plane([OURS], self.folder / "chain-ours") as endpoint:
            chained = deploy(endpoint, folder)
        with control_plane([OURS], self.folder / "chain-base") as endpoint:
            base = deploy(endpoint, independent)
        return [_row("1,000 tasks in a chain, against independent ones", chained, base, 1.2)]

    def scale(self) -> list[Row]:
        """1,000 environments, 10,000 tasks, against 100."""
        small = self._project("small", lambda f: projects.environments(f, 100))
        large = self._project("large", lambda f: projects.environments(f, 1000))
        with control_plane([OURS], self.folder / "small-ours") as endpoint:
            base = deploy(endpoint, small)
        with control_plane([OURS], self.folder / "large-ours") as endpoint:
            figure = deploy(endpoint, large)
        with control_plane([OURS], self.folder / "large-memory") as endpoint:
            memory = deploy(endpoint, large, memory=True).memory
        return [
            _row("10,000 tasks, against 1,000", figure, base, 11),
            Row(
                "peak memory of all processes, 10,000 tasks",
                f"{memory / 1e6:.0f} MB",
                "700 MB",
                memory / 700e6,
                1,
            ),
        ]

    def tree(self) -> list[Row]:
        """``--copy-style all`` on 500 MB in 5,000 files."""
        folder = self._project("tree", lambda f: projects.large_tree(f, files=5000, size=500_000_000))
        figures = self._measured("tree", folder, "--copy-style", "all")
        return [
            _row("500 MB in 5,000 files, first deploy", figures["ours first"], figures["peer first"], 1 / 6),
            _row("500 MB in 5,000 files, unchanged", figures["ours again"], figures["peer first"], 1 / 30),
        ]

    def verify(self) -> list[Row]:
        """1,000 tasks of 100 modules loaded from the bundle, against importing the modules where they are.

        Both in an initialized SDK: code may ask it for its settings while it is imported.
        """
        folder = self._project("verify", lambda f: projects.environments(f, 100))
        modules = [f"import {path.stem}" for path in sorted(folder.glob("*.py"))]
        # As a task container, and flyte deploy, do before the first of them.
        command = [sys.executable, "-c", "\n".join(["import flyte", "flyte.init(root_dir='.')", *modules])]
        # Neither finds compiled files.
        plain = {**QUIET, "PYTHONDONTWRITEBYTECODE": "1"}
        ours, imports = [], []
        with control_plane([OURS], self.folder / "verify-ours") as endpoint:
            for number in range(5):
                arguments = ("--version", f"v{number}", "--output-format", "json")
                output = deploy(endpoint, folder, *arguments).output
                document = json.JSONDecoder().raw_decode(output, output.index("\n{") + 1)[0]
                ours += [step["seconds"] for step in document["steps"] if step["name"] == "verify"]
                imports.append(run(command, folder=folder, environment=plain).seconds or 0)
        best, against = min(ours), min(imports)
        name = "verify 1,000 tasks in 100 modules, against importing them"
        return [Row(name, f"{best:.2f} s", f"{against:.2f} s", best / against, 1.5)]

    def s3(self) -> list[Row]:
        """500 MB, half of it incompressible, to S3 over a wire of 50 MB/s; then nothing to send."""
        rate = 50e6
        folder = self._project("s3", lambda f: projects.large_tree(f, files=500, size=500_000_000))
        with (
            servers.s3_server(self.folder / "s3-server") as server,
            wire(server.port, rate=rate) as line,
            control_plane([OURS], self.folder / "s3-plane") as endpoint,
        ):
            server.client().create_bucket(Bucket="bundles")
            keys = {"AWS_ACCESS_KEY_ID": servers.ACCESS, "AWS_SECRET_ACCESS_KEY": servers.SECRET}
            place = ["--bundle-store", "s3://bundles", "--s3-endpoint", f"http://127.0.0.1:{line.port}"]
            place += ["--s3-region", servers.REGION, "--output-format", "json", "--verify", "off"]
            place += ["--copy-style", "all"]

            def step(name: str, version: str, memory: bool = False) -> tuple[float, Run]:
                arguments = (*place, "--version", version)
                figure = deploy(endpoint, folder, *arguments, memory=memory, environment=keys)
                output = figure.output
                document = json.JSONDecoder().raw_decode(output, output.index("\n{") + 1)[0]
                return sum(each["seconds"] for each in document["steps"] if each["name"] == name), figure

            line.forget()
            seconds, _ = step("publish", "v1")
            transfer = line.passed / rate
            sent = f"{line.passed / 1e6:.0f} MB"
            there = min(step("compare", f"v{number}")[0] for number in range(2, 7))
            plain = min(self._compare_alone(endpoint, folder, f"w{number}") for number in range(5))
            (bucket,) = server.client().list_objects_v2(Bucket="bundles")["Contents"]
            server.client().delete_object(Bucket="bundles", Key=bucket["Key"])
            memory = step("publish", "v9", memory=True)[1].memory
        beside = max(there - plain, 0)
        return [
            Row(
                f"{sent} to S3, against the wire alone",
                f"{seconds:.2f} s",
                f"{transfer:.2f} s",
                seconds / transfer,
                1.1,
            ),
            Row(
                "the same, peak memory of all processes",
                f"{memory / 1e6:.0f} MB",
                "250 MB",
                memory / 250e6,
                1,
            ),
            Row("unchanged in S3, beside the rest", f"{beside * 1000:.0f} ms", "50 ms", beside / 0.05, 1),
        ]

    def _compare_alone(self, endpoint: str, folder: Path, version: str) -> float:
        """The seconds of comparing where no bucket is asked: a folder with the bundle in it."""
        arguments = ("--copy-style", "none", "--output-format", "json", "--version", version)
        output = deploy(endpoint, folder, *arguments).output
        document = json.JSONDecoder().raw_decode(output, output.index("\n{") + 1)[0]
        return float(sum(step["seconds"] for step in document["steps"] if step["name"] == "compare"))

    def images(self) -> list[Row]:
        """Eight images against building them one by one; two against the peer, on the same builder."""
        from bench.images import figures

        found = figures(self.folder / "images", OURS, TARGET, PEER)

        def row(name: str, ours: str, theirs: str, limit: float) -> Row:
            one, other = found[ours], found[theirs]
            return Row(name, f"{one:.2f} s", f"{other:.2f} s", one / other, limit)

        looked = found["eight looked up"]
        return [
            row("eight images, cold, against one by one", "eight", "one by one", 0.75),
            Row("eight images looked up, of 0.3 s", f"{looked:.2f} s", "0.30 s", looked / 0.3, 1),
            row("two images, cold", "two", "peer two", 0.5),
            row("two images, unchanged", "two again", "peer two again", 0.1),
        ]

    def remote(self) -> list[Row]:
        """Eight images built by the backend, by us and by the peer; a large context."""
        from bench.images import remote

        found = remote(self.folder / "remote", OURS, TARGET, PEER)

        def row(name: str, ours: str, theirs: str, limit: float) -> Row:
            one, other = found[ours], found[theirs]
            return Row(name, f"{one:.2f} s", f"{other:.2f} s", one / other, limit)

        memory = found["memory"]
        return [
            row("eight images by the backend", "eight", "peer eight", 1.05),
            row("the same, unchanged", "again", "peer again", 0.1),
            Row("peak memory, context of 200 MB", f"{memory / 1e6:.0f} MB", "200 MB", memory / 200e6, 1),
        ]

    def releases(self) -> list[Row]:
        """A release against the first deploy of the same content; what is said of a large deployment."""
        from bench import releases

        released, first = releases.release(self.folder / "releases", OURS)
        rendered = releases.pages()
        return [
            Row(
                "a release, against the first deploy",
                f"{released:.2f} s",
                f"{first:.2f} s",
                released / first,
                1 / 2,
            ),
            Row("comment and summary of 2,000 tasks, of 1 s", f"{rendered:.2f} s", "1.00 s", rendered, 1),
        ]

    def container(self) -> list[Row]:
        """The action's container: its size, its start, an unchanged project, and staging."""
        from tests import engine as real
        from tests.harness.image import action_image

        from bench import container

        engine = real.start()
        image = action_image(engine)
        sizes = container.compressed(engine)
        first, nothing = container.starting(engine, image)
        inside, outside = container.unchanged(engine, image, OURS)
        tree = self._project("staged", lambda f: projects.large_tree(f, files=5000, size=500_000_000))
        staged, copied = container.staging(tree)

        def row(name: str, ours: float, theirs: float, limit: float = 1, unit: str = "s") -> Row:
            digits = 2 if unit == "s" else 0
            texts = [f"{one:.{digits}f} {unit}" for one in (ours, theirs)]
            return Row(name, texts[0], texts[1], ours / theirs, limit)

        return [
            row("the action's image in gzip, beside its base", sizes["gzip"], 150 - 41, unit="MB"),
            row("the action's image in zstd, beside its base", sizes["zstd"], 130 - 41, unit="MB"),
            row("first line of the action's first step, of 0.7 s", first, 0.7),
            row("the same, against a container that does nothing", first, nothing, 2),
            row("unchanged, the action against the command", inside, outside, 2),
            row("staging 500 MB in 5,000 files, of 2 s", staged, 2),
            row("the same, against cp -a", staged, copied),
        ]

    def login(self) -> list[Row]:
        """32 in flight with a token that ends every second: failures, and one refresh for each life."""
        from bench.login import figures

        found = figures(self.folder / "login")
        name = f"{found.calls} calls, 32 in flight, a token a second"
        failed = Row(f"{name}: failed", str(found.failed), "0", float(found.failed), 0)
        return [
            failed,
            Row(
                "the same: refreshes",
                str(found.refreshes),
                f"{found.lives:.1f} lives",
                found.refreshes / found.lives,
                1,
            ),
        ]

    def help(self) -> list[Row]:
        """Our help against the peer's version."""
        ours = min(
            (run([OURS, "--help"], folder=self.folder) for _ in range(5)), key=lambda r: r.seconds or 0
        )
        peer = min(
            (run([PEER, "--version"], folder=self.folder, environment=QUIET) for _ in range(5)),
            key=lambda r: r.seconds or 0,
        )
        return [_row("--help, against flyte --version", ours, peer, 1 / 2)]


def _row(name: str, ours: Run, peer: Run, limit: float) -> Row:
    ratio = ours.seconds / peer.seconds if ours.seconds and peer.seconds else None
    return Row(name, _seconds(ours), _seconds(peer), ratio, limit)


def _seconds(figure: Run) -> str:
    return "not finished" if figure.seconds is None else f"{figure.seconds:.2f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and answer 1 where a figure misses what it must reach."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = (
        *("help", "verify", "images", "remote", "independent", "chain", "scale", "tree", "s3"),
        *("container", "login", "releases"),
    )
    parser.add_argument("only", nargs="*", choices=[*names, []], help="measure only these")
    parser.add_argument("--cap", type=float, default=600, help="seconds that the peer may take")
    chosen = parser.parse_args(arguments)
    print(f"{'measured':52} {'ours':>12} {'against':>12} {'ratio':>8} {'at most':>8}")
    missed = False
    for name in chosen.only or names:
        with tempfile.TemporaryDirectory(prefix="flyte-deploy-bench-") as folder:
            for row in getattr(Bench(Path(folder), chosen.cap), name)():
                ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
                figures = f"{row.ours:>12} {row.peer:>12} {ratio:>8} {row.limit:>8.3f}"
                print(f"{row.name:52} {figures}  {row.verdict}", flush=True)
                missed = missed or row.verdict != "reached"
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
