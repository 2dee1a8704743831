"""Writes the pages that follow from the code; with `--check` it only says which of them are stale."""

from __future__ import annotations

import sys
from pathlib import Path

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.dictionary import data_dictionary

HERE = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Maps each generated page to what it should hold."""
    return {HERE / "tables.md": data_dictionary(BUILT_IN)}


def main() -> int:
    """Writes or checks; returns the exit code."""
    stale = [page for page, text in pages().items() if not page.is_file() or page.read_text(encoding="utf-8") != text]
    for page in stale:
        if "--check" in sys.argv:
            print(f"{page.relative_to(HERE.parent)} is stale: run `make docs`", file=sys.stderr)
        else:
            page.write_text(pages()[page], encoding="utf-8")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
