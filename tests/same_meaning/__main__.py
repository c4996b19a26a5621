"""``python -m tests.same_meaning PROJECT [ARGS ...]``: compare both deployers on a project."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.same_meaning.compare import OursFailed, PeerFailed, compare


def main(arguments: list[str]) -> int:
    """Compare and say what differs; 1 where something does."""
    if not arguments:
        print("usage: python -m tests.same_meaning PROJECT [ARGS ...]; without ARGS: --recursive .")
        return 2
    folder, *rest = arguments
    try:
        result = compare(Path(folder).resolve(), rest or ["--recursive", "."])
    except PeerFailed as failed:
        print(f"flyte deploy failed:\n{failed}")
        return 1
    except OursFailed as failed:
        print(f"flyte-deploy failed:\n{failed}")
        return 1
    for difference in result.differences:
        print(difference)
    differ = len(result.differences)
    print(f"{result.tasks} tasks, compared with {result.requests} requests of the peer: {differ} differences")
    return int(bool(differ))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
