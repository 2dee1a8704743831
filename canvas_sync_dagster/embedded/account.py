"""Choose the account and the directories of the embedded server.

PostgreSQL refuses to run as root. If this process is root, the server runs under an unprivileged account, which must be
able to read its binaries and data. It cannot enter a checkout under `/root`, and we do not change permissions of other
directories. Such files are therefore kept under `/var/lib/canvas_sync`.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canvas_sync_dagster.errors import EmbeddedPostgresError

OPEN_PLACE = Path("/var/lib/canvas_sync")
ACCOUNTS = ("canvas_sync", "postgres", "nobody")
"""Unprivileged accounts in order of preference. The first one is created if `useradd` exists; the last one always exists."""

SOCKET_PATH_LIMIT = 90
"""Maximum bytes of the path of a socket directory; the kernel allows 107 for directory and file name together."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that runs the server."""

    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    def arguments(self) -> dict[str, Any]:
        """Return the arguments with which `subprocess` runs a program under this account."""
        return {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}


def choose_account() -> Account:
    """Return the account of this process, or an unprivileged one if this process is root."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if not _exists(ACCOUNTS[0]) and (useradd := shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin")):
        command = [useradd, "--system", "--no-create-home", "--home-dir", str(OPEN_PLACE), ACCOUNTS[0]]
        subprocess.run(command, check=False, capture_output=True)
    for name in ACCOUNTS:
        if _exists(name):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and this machine has no other account for it: create one with "
        f"`useradd --system {ACCOUNTS[0]}`, or set CANVAS_SYNC_DATABASE_URL to another server."
    )


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def is_open(path: Path) -> bool:
    """Return whether every account may enter the directories of a path."""
    path = path.resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (path, *path.parents) if each.exists())


def data_place(home: Path, account: Account) -> Path:
    """Create and return the directory of a home's server: `<home>/postgres`, or a directory that the account can enter."""
    place = home / "postgres"
    place.mkdir(parents=True, exist_ok=True)
    if account.is_ours:
        return place.resolve()
    if not is_open(place):
        twin = OPEN_PLACE / hashlib.sha256(os.fsencode(place.resolve())).hexdigest()[:16]
        twin.mkdir(parents=True, exist_ok=True, mode=0o711)
        (place / "README").write_text(f"The data of this server are in {twin}, where its account can read them.\n")
        place = twin
    os.chown(place, account.uid, account.gid)
    return place.resolve()


def runnable(binaries: Path, account: Account) -> Path:
    """Return the directory of the binaries, or that of a copy that the account can read."""
    if account.is_ours or is_open(binaries):
        return binaries
    installation = binaries.parent
    identity = f"{installation}:{(binaries / 'postgres').stat().st_mtime_ns}"
    copy = OPEN_PLACE / "programs" / hashlib.sha256(identity.encode()).hexdigest()[:16]
    target = copy / installation.parent.name / installation.name
    if not target.exists():
        half = copy.with_name(f"{copy.name}.{os.getpid()}")
        # The wheel's binaries load their libraries from a directory next to the package, so both are copied.
        for source in (installation, installation.parent.with_name(f"{installation.parent.name}.libs")):
            if source.is_dir():
                shutil.copytree(source, half / source.relative_to(installation.parent.parent), symlinks=True)
        _publish(half, copy)
    return target / binaries.name


def _publish(half: Path, whole: Path) -> None:
    try:
        half.rename(whole)
    except OSError:  # Another process has created it meanwhile.
        shutil.rmtree(half, ignore_errors=True)


def socket_directory(place: Path, account: Account) -> Path:
    """Create and return a directory of mode 0700 with a path that is short enough for a socket."""
    directory = place / "run"
    if len(os.fsencode(directory)) > SOCKET_PATH_LIMIT:
        digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
        directory = Path("/tmp") / f"canvas_sync-{account.uid}-{digest}"  # noqa: S108 (verified below)
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if found.st_uid == os.geteuid() and not account.is_ours:
        os.chown(directory, account.uid, account.gid)
        found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or stat.S_IMODE(found.st_mode) != 0o700:
        raise EmbeddedPostgresError(
            f"{directory} is not a private directory of this account; remove it and start again."
        )
    return directory
