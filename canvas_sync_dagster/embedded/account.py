"""Who runs the server and where its files may lie.

PostgreSQL refuses to run as root. As root we give it to an unprivileged account, which then must be able to reach its
programs and its data: a checkout under `/root` is closed to it, and opening other people's directories is not ours to
do. So whatever lies behind a closed door gets a twin under `/var/lib/canvas_sync`.
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
"""Unprivileged accounts in order of preference; the first is made where `useradd` exists, the last exists everywhere."""

SOCKET_PATH_LIMIT = 90
"""Bytes of a socket directory's path; the kernel takes 107 for directory and file name together."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that runs the server."""

    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    def arguments(self) -> dict[str, Any]:
        """Returns what makes `subprocess` run a program as this account."""
        return {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}


def choose_account() -> Account:
    """Returns our own account, or an unprivileged one where ours is root."""
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
        "PostgreSQL does not run as root, and this machine has no other account to run it: make one with "
        f"`useradd --system {ACCOUNTS[0]}`, or set CANVAS_SYNC_DATABASE_URL to a server of your own."
    )


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def is_open(path: Path) -> bool:
    """Says whether every account may pass through a path's directories."""
    path = path.resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (path, *path.parents) if each.exists())


def data_place(home: Path, account: Account) -> Path:
    """Returns, and makes, the directory for a home's server: `<home>/postgres`, or its twin in the open."""
    place = home / "postgres"
    place.mkdir(parents=True, exist_ok=True)
    if account.is_ours:
        return place.resolve()
    if not is_open(place):
        twin = OPEN_PLACE / hashlib.sha256(os.fsencode(place.resolve())).hexdigest()[:16]
        twin.mkdir(parents=True, exist_ok=True, mode=0o711)
        (place / "README").write_text(f"The data of this server lie in {twin}, where its account can reach them.\n")
        place = twin
    os.chown(place, account.uid, account.gid)
    return place.resolve()


def runnable(binaries: Path, account: Account) -> Path:
    """Returns the programs' directory, or a copy of the installation that the account can reach."""
    if account.is_ours or is_open(binaries):
        return binaries
    installation = binaries.parent
    identity = f"{installation}:{(binaries / 'postgres').stat().st_mtime_ns}"
    copy = OPEN_PLACE / "programs" / hashlib.sha256(identity.encode()).hexdigest()[:16]
    target = copy / installation.parent.name / installation.name
    if not target.exists():
        half = copy.with_name(f"{copy.name}.{os.getpid()}")
        # The wheel's programs find their libraries beside the package, so both move together.
        for source in (installation, installation.parent.with_name(f"{installation.parent.name}.libs")):
            if source.is_dir():
                shutil.copytree(source, half / source.relative_to(installation.parent.parent), symlinks=True)
        _publish(half, copy)
    return target / binaries.name


def _publish(half: Path, whole: Path) -> None:
    try:
        half.rename(whole)
    except OSError:  # Another process was faster.
        shutil.rmtree(half, ignore_errors=True)


def socket_directory(place: Path, account: Account) -> Path:
    """Returns, and makes, a directory of mode 0700 that is short enough for a socket."""
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
        raise EmbeddedPostgresError(f"{directory} is not a private directory of ours; remove it and start again.")
    return directory
