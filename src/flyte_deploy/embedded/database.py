"""The control plane's memory: an SQLite database that commits in groups."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyte_deploy.errors import DeployError
from flyte_deploy.model import RegisteredTask

FILE = "control-plane.db"
"""The database's name in the data folder."""

_VERSION = 2
_SCHEMA = """
CREATE TABLE keys (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE projects (
    identifier TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, labels BLOB NOT NULL,
    state INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
);
CREATE TABLE requests (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE tasks (
    project TEXT NOT NULL, domain TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
    environment TEXT NOT NULL, function_name TEXT NOT NULL, deployed_by TEXT NOT NULL DEFAULT '',
    env_description TEXT, short_description TEXT,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    trigger_name TEXT, total_triggers INTEGER NOT NULL DEFAULT 0, active_triggers INTEGER NOT NULL DEFAULT 0,
    trigger_automation_spec BLOB,
    request INTEGER NOT NULL REFERENCES requests (id),
    PRIMARY KEY (project, domain, name, version)
) WITHOUT ROWID;
CREATE INDEX tasks_by_version ON tasks (project, domain, version, name);
CREATE TABLE triggers (
    project TEXT NOT NULL, domain TEXT NOT NULL, task_name TEXT NOT NULL, name TEXT NOT NULL,
    revision INTEGER NOT NULL, task_version TEXT NOT NULL, active INTEGER NOT NULL,
    automation_type TEXT NOT NULL, spec BLOB NOT NULL, automation_spec BLOB NOT NULL,
    deployed_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, deleted_at INTEGER,
    PRIMARY KEY (project, domain, task_name, name)
) WITHOUT ROWID;
CREATE TABLE objects (path TEXT PRIMARY KEY, flyte_md5 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
    project TEXT NOT NULL, domain TEXT NOT NULL, name TEXT NOT NULL, fqin TEXT NOT NULL, run BLOB NOT NULL,
    PRIMARY KEY (project, domain, name)
) WITHOUT ROWID;
CREATE TABLE calls (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, method TEXT NOT NULL, code TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Call:
    """An entry of the call log.

    Args:
        method: the API's method (``DeployTask``), its whole path where the control plane has no such method,
            or ``PUT`` and ``GET`` for the store.
        code: ``ok``, or the error: a status of the API (``not_found``) or the store's (``BadDigest``).
        at: when it was answered, in microseconds since 1970.
    """

    method: str
    code: str
    at: int

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.code == "ok"


class Database:
    """The database as the server's event loop uses it; no other thread may.

    What is written is seen by its own reads at once. It is on disk when `saved` returns: everything written
    in one turn of the loop is committed together.

    Raises:
        DeployError: where the file is no such database, or cannot be used.
    """

    def __init__(self, data: Path) -> None:
        path = data / FILE
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._prepare(path)
        except sqlite3.Error as error:
            raise DeployError(
                f"the embedded control plane's database cannot be used: {error}",
                where=str(path),
                mend="Name another folder for its data, or delete this one to begin anew.",
            ) from error
        last = self.read("SELECT max(created_at) FROM tasks")[0][0]
        self._now: int = last or 0
        self._waiting: list[asyncio.Future[None]] = []
        self._log: list[tuple[int, str, str]] = []
        self._scheduled = False
        self.changes = 0
        """Counts what was written, the call log aside: as long as it is the same, so are the answers."""

    def _prepare(self, path: Path) -> None:
        for pragma in (
            "journal_mode = WAL",
            # A commit survives the end of the process; one that the machine's own end takes is undone whole.
            "synchronous = NORMAL",
            "wal_autocheckpoint = 4000",
            "cache_size = -16000",
            # As PostgreSQL has it.
            "case_sensitive_like = ON",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        elif version != _VERSION:
            raise DeployError(
                f"the embedded control plane's database has format {version}, this program knows {_VERSION}",
                where=str(path),
                mend="Name another folder for its data, or delete this one to begin anew.",
            )

    def now(self) -> int:
        """Microseconds since 1970; every call gives more than the one before, restarts included."""
        self._now = max(self._now + 1, time.time_ns() // 1000)
        return self._now

    def read(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """The rows of a query."""
        return self._connection.execute(sql, values).fetchall()

    def write(self, sql: str, *values: object) -> int:
        """Run a statement and return the last row id. A failure undoes everything not committed yet."""
        try:
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            cursor = self._connection.execute(sql, values)
        except sqlite3.Error as error:
            self._undo(error)
            raise
        self.changes += 1
        self._schedule()
        return cursor.lastrowid or 0

    def log(self, method: str, code: str) -> None:
        """Write an entry of the call log, with the next commit."""
        self._log.append((self.now(), method, code))
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.commit)

    async def saved(self) -> None:
        """Wait until everything written so far is on disk.

        Raises:
            sqlite3.Error: it could not be written, and is undone.
        """
        if self._connection.in_transaction:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def commit(self) -> None:
        """Commit what is written, and tell those who wait for it."""
        self._scheduled = False
        log, self._log = self._log, []
        try:
            if log:
                if not self._connection.in_transaction:
                    self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("INSERT INTO calls (at, method, code) VALUES (?, ?, ?)", log)
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo(error)
            return
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _undo(self, error: sqlite3.Error) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self.changes += 1
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_exception(error)

    def close(self) -> None:
        """Commit and close."""
        self.commit()
        self._connection.close()


def read_calls(data: Path) -> list[Call]:
    """The call log of a data folder, oldest first. Its server may be running, in another process too."""
    rows = _rows(data, "SELECT method, code, at FROM calls ORDER BY id")
    return [Call(*row) for row in rows]


def read_deploy_requests(data: Path) -> Iterator[bytes]:
    """The ``DeployTaskRequest`` of every registration of a data folder, as it was sent, oldest first."""
    return (row[0] for row in _rows(data, "SELECT body FROM requests ORDER BY id"))


def read_tasks(data: Path) -> list[RegisteredTask]:
    """All versions of all tasks of a data folder, in the order of their creation."""
    rows = _rows(data, "SELECT name, version, environment FROM tasks ORDER BY created_at")
    return [RegisteredTask(*row) for row in rows]


def _rows(data: Path, sql: str) -> Iterator[tuple[Any, ...]]:
    connection = sqlite3.connect(data / FILE, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA query_only = ON")
        yield from connection.execute(sql)
    finally:
        connection.close()
