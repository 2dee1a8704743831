"""Directories of downloads: one per op. The op removes it; if its process was killed, the next run removes it.

A report holds all users in plain text. A process that was killed removes nothing, so its directory is recognized: each
directory is locked by the process that made it, and the system releases the lock of a dead one.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp

from canvas_sync_dagster.canvas.download import disk_error

FOLDER = "downloads"
UNLOCKED_FOR = timedelta(minutes=1)
"""Age from which a directory without a lock is abandoned; between making and locking one lie milliseconds."""
ELSEWHERE_FOR = timedelta(days=7)
"""Age from which a directory of another host is abandoned: its locks are not visible on every shared file system. A report
may take a day (CANVAS_SYNC_REPORT_TIMEOUT)."""


@contextmanager
def download_directory(home: Path, slug: str) -> Iterator[Path]:
    """Make a directory that is removed with the op, and remove those of dead processes.

    Args:
        home: Directory of the code location.
        slug: Of the tenant.

    Raises:
        LocalDiskError: It cannot be made.
    """
    downloads = home / FOLDER
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        remove_abandoned(home)
        made = Path(mkdtemp(dir=downloads, prefix=f"{slug}-{_host()}-"))
        lock = os.open(made, os.O_RDONLY)
    except OSError as error:
        raise disk_error(error, downloads) from error
    try:
        with suppress(OSError):
            # A file system without locks: the directory is removed by its age.
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def remove_abandoned(home: Path, now: float | None = None) -> int:
    """Remove the directories of dead processes, with what they downloaded; return how many."""
    found = [each for each in (home / FOLDER).glob("*") if each.is_dir() and not each.is_symlink()]
    moment = time.time() if now is None else now
    return sum(_removed(each, moment) for each in found)


def _removed(directory: Path, now: float) -> bool:
    try:
        age = now - directory.stat().st_mtime
        here = f"-{_host()}-" in directory.name
        if age < (UNLOCKED_FOR if here else ELSEWHERE_FOR).total_seconds():
            return False
        lock = os.open(directory, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    except OSError:
        # Its process lives.
        return False
    finally:
        os.close(lock)
    return not directory.exists()


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", socket.gethostname())[:60] or "host"
