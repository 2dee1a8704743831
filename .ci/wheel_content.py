"""Check the content of a wheel: the whole package, its data files, its metadata, and nothing else.

./run python .ci/wheel_content.py dist/canvas_sync_dagster-1.0.0-py3-none-any.whl
"""

from __future__ import annotations

import re
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "canvas_sync_dagster"


def problems(wheel: Path) -> list[str]:
    """Return a sentence for each difference between a wheel and the checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (info,) = {name.partition("/")[0] for name in names if name.endswith(".dist-info/METADATA")}
        metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
        size = sum(each.file_size for each in archive.infolist())
    wanted = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    wanted = {name for name in wanted if "__pycache__" not in name}
    wanted |= {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    found = [f"{name} is missing" for name in sorted(wanted - names)]
    found += [f"{name} does not belong there" for name in sorted(names - wanted)]
    if metadata["Version"] != project["version"] or metadata["License-Expression"] != "Apache-2.0":
        found.append(f"its metadata have version {metadata['Version']} and licence {metadata['License-Expression']}")
    page = str(metadata.get_payload())
    if len(page) < 1_000 or "pip install 'canvas-sync-dagster[all]'" not in page:
        found.append("its metadata contain no README with the installation")
    # A package index shows the README without the files beside it.
    found += [
        f"the README of its metadata has {each!r}" for each in re.findall(r"\]\((?!https?:|#)[^)]*\)|\./run \S+", page)
    ]
    print(
        f"{wheel.name}: {len(names)} files, {size // 1024} KiB unpacked, {wheel.stat().st_size // 1024} KiB as a wheel"
    )
    return found


if __name__ == "__main__":
    lines = problems(Path(sys.argv[1]))
    print("\n".join(lines))
    sys.exit(1 if lines else 0)
