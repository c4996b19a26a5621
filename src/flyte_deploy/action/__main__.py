"""The container's program: process 1, and below it ``flyte-deploy action``."""

from __future__ import annotations

import os
import shutil
import sys

from flyte_deploy.action.environment import clean
from flyte_deploy.action.supervise import supervise
from flyte_deploy.isolation import BASE


def main() -> int:
    """Run the action and answer the container's exit status."""
    clean(os.environ)
    os.umask(0o077)
    status = supervise(_work, _deadline())
    if os.getpid() == 1 and status < 128:
        # To unmount the container's file system is to write it to the disk, and the step waits for that.
        shutil.rmtree(BASE, ignore_errors=True)
    return status


def _work() -> int:
    from flyte_deploy import cli

    return cli.main(["action", *sys.argv[1:]])


def _deadline() -> float:
    from flyte_deploy.action.inputs import early_input

    # What is no number is told as an error by the run itself, which begins now.
    return float(str(early_input("deadline", os.environ)))


if __name__ == "__main__":
    sys.exit(main())
