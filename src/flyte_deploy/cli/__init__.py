"""The command line: ``flyte-deploy``.

Nothing here is logic: a command turns its arguments into settings, calls the engine, and prints. Only click
and the table of options are imported before a command runs, so that help is quick.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import click

from flyte_deploy.cli import releases as _releases  # noqa: F401 - adds its commands
from flyte_deploy.cli.commands import Run, group
from flyte_deploy.cli.output import report
from flyte_deploy.errors import DeployError
from flyte_deploy.secrets import SECRETS

__all__ = ["group", "main"]

INTERRUPTED, TERMINATED = 130, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and answer its exit status.

    0: done. 1: failed. 2: usage or bad input. 3: ``plan --detailed-exitcode`` found changes. 130 and 143:
    interrupted by Ctrl-C or SIGTERM, after cleaning up. What went wrong is on standard error, and with
    ``--output-format json`` as the one document on standard output.

    Args:
        arguments: without the program's name; by default those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end a deployment.
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    SECRETS.add_named(os.environ)
    run = Run(json=_asks_for_json(words))
    with _terminable() as terminated:
        try:
            status = group.main(words, prog_name="flyte-deploy", standalone_mode=False, obj=run)
            sys.stdout.flush()
            return int(status or 0)
        except (KeyboardInterrupt, click.Abort):
            status = TERMINATED if terminated else INTERRUPTED
            what = "terminated" if terminated else "interrupted"
            again = "The same command, run again, completes what was begun."
            return _failed(DeployError(what, mend=again), run, status)
        except click.UsageError as error:
            hint = f"See {error.ctx.command_path} -h." if error.ctx else None
            return _failed(DeployError(error.format_message(), mend=hint, usage=True), run)
        except click.ClickException as error:
            return _failed(DeployError(error.format_message()), run)
        except DeployError as error:
            return _failed(error, run)
        except BrokenPipeError:
            # Whoever read our output has left. Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            what = f"internal error: {type(error).__name__}: {error}"
            mend = None if run.verbose else "Run again with -v for the traceback, and report it."
            return _failed(DeployError(what, mend=mend), run)


def _failed(error: DeployError, run: Run, status: int | None = None) -> int:
    try:
        report(error, json=run.json, verbose=run.verbose)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return error.exit_status if status is None else status


def _asks_for_json(words: Sequence[str]) -> bool:
    """Whether the words ask for JSON, for errors that come before they have been understood."""
    told = os.environ.get("FLYTE_DEPLOY_OUTPUT_FORMAT", "")
    for place, word in enumerate(words):
        if word in {"--output-format", "-of"}:
            told = "".join(words[place + 1 : place + 2])
        elif word.startswith("--output-format="):
            told = word.partition("=")[2]
    return told == "json"


@contextmanager
def _terminable() -> Iterator[list[int]]:
    """SIGTERM interrupts like Ctrl-C; the list is no longer empty afterwards."""
    received: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if received:
            return
        received.append(number)
        # The same way as Ctrl-C, so that event loops, which take that one over, end their tasks too. A shell
        # starts background commands with it ignored.
        if callable(signal.getsignal(signal.SIGINT)):
            signal.raise_signal(signal.SIGINT)
        else:
            raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        # Not in the main thread: signals are none of our business.
        yield received
        return
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)
