"""The real pgbouncer in front of a PostgreSQL, where it is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from canvas_sync_dagster.embedded.account import choose_account

BINARY = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(BINARY is None, reason="pgbouncer is not installed")
PATIENCE = 10.0
"""Seconds that a start may take; it takes 0.05."""


@contextmanager
def pgbouncer(url: str, mode: str, *, password: str | None = None, **settings: object) -> Iterator[str]:
    """Serves a database through pgbouncer on a free port of loopback; yields the address.

    Args:
        url: Of the database.
        mode: `session` or `transaction`.
        password: What the user of the address must give; none if not given. The yielded address does not hold it.
        settings: Of pgbouncer, besides its own defaults.
    """
    assert BINARY is not None
    server = conninfo_to_dict(url)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    target = " ".join(f"{name}={server[name]}" for name in ("host", "port", "user", "password") if server.get(name))
    options = {"listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "any"}
    options |= {"pool_mode": mode, "log_connections": 0, "log_disconnections": 0} | settings
    lines = ["[databases]", f"* = {target}", "[pgbouncer]", *(f"{name} = {value}" for name, value in options.items())]
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as log:
        # Root may not run it; the account of the embedded server may, and reaches that server's socket.
        Path(directory).chmod(0o755)
        file, users = Path(directory) / "pgbouncer.ini", Path(directory) / "users"
        if password is not None:
            users.write_text(f'"{server["user"]}" "{password}"\n')
            lines += ["auth_type = plain", f"auth_file = {users}"]
        file.write_text("\n".join([*lines, ""]))
        process = subprocess.Popen([BINARY, str(file)], stdout=log, stderr=log, **choose_account().arguments())
        try:
            through = f"postgresql://{server['user']}@127.0.0.1:{port}/{server['dbname']}"
            _await(through, process, password)
            yield through
        finally:
            process.kill()
            process.wait(PATIENCE)


def _await(url: str, process: subprocess.Popen[bytes], password: str | None) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg.connect(url, password=password).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None and time.monotonic() < deadline, "pgbouncer did not start"
            time.sleep(0.02)
