"""Writes the pages that follow from the code; with `--check` it only says which of them are stale."""

from __future__ import annotations

import sys
from pathlib import Path

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.dictionary import data_dictionary
from canvas_sync_dagster.settings import PREFIX, TenantSettings

HERE = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Maps each generated page to what it should hold."""
    return {HERE / "tables.md": data_dictionary(BUILT_IN), HERE / "settings.md": settings_page()}


def settings_page() -> str:
    """Lists the settings of a tenant, from their declarations."""
    lines = [
        "# Settings",
        "",
        "Generated from the code; `make docs` writes it again. They are read from the environment, then `.env`, then",
        "`canvas_sync.yaml` (`tenants: {slug: {base_url: …, token: ${NAME_OF_A_VARIABLE}}}`, or the file that",
        "`CANVAS_SYNC_CONFIG` names). With several tenants in the file, the environment gives address, token, account and",
        "database only to the tenant that `CANVAS_SYNC_TENANT` names.",
        "",
        "Beside `tenants:` the file may hold `mappings:` and `legacy_ids:`; see `your-own.md`.",
        "",
        "| variable | in the file | default | allowed |",
        "|---|---|---|---|",
    ]
    for name, field in TenantSettings.model_fields.items():
        key = field.alias or name
        variable = {"slug": f"`{PREFIX}TENANT`", "schema_name": ""}.get(name, f"`{PREFIX}{name.upper()}`")
        shown = ", ".join(field.default) if isinstance(field.default, tuple) else field.default
        allowed = (field.description or "").replace("|", "\\|")
        lines.append(f"| {variable} | `{key}` | {'' if shown is None else f'`{shown}`'} | {allowed} |")
    shared = [
        f"| `{PREFIX}HOME` | | `.canvas_sync` | a directory for the embedded PostgreSQL and downloads |",
        f"| `{PREFIX}PG_BIN` | | the wheel's | PostgreSQL's programs, 14 or newer |",
        f"| `{PREFIX}DAGSTER_DATABASE_URL` | | embedded | where Dagster keeps its own tables |",
        "| `DATASERVICES_JWK_URL` | | Instructure's | where the keys of signed live events are |",
        "| `PRODUCTION_KEY1`, `PRODUCTION_IV1` | | | key and fixed IV of encrypted live events, in hex or base64 |",
        "| `BULK_IMPORTER_BATCH_SIZE` | | by bytes | rows per frame when loading |",
    ]
    return "\n".join([*lines, *shared, ""])


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
