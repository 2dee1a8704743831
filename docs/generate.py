"""Write the generated pages. With `--check`, only report stale pages and broken links, and exit with 1."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import click
import yaml
from picture import entity_picture
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from canvas_sync_dagster.alert_settings import AlertSettings, EmailAlerts
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.dictionary import data_dictionary, dbt_source
from canvas_sync_dagster.cli import main as canvas_sync
from canvas_sync_dagster.configuration.environment import PREFIX
from canvas_sync_dagster.configuration.spelling import spelled
from canvas_sync_dagster.dagster_yaml import NAME, instance_file
from canvas_sync_dagster.tenants import Genre, Policy, TenantSettings
from canvas_sync_dagster.translation_settings import NamedAttributes, Translation

HERE = Path(__file__).parent
ROOT = HERE.parent
REFERENCE = HERE / "reference"
DBT = ROOT / "examples" / "dbt" / "models" / "sources.yml"


def pages() -> dict[Path, str]:
    """Return the expected content of each generated page and file."""
    return {
        REFERENCE / "tables.md": data_dictionary(BUILT_IN),
        HERE / "images" / "tables.svg": entity_picture(BUILT_IN),
        REFERENCE / "settings.md": settings_page(),
        REFERENCE / "commands.md": commands_page(),
        DBT: dbt_sources(),
        ROOT / NAME: instance_file(),
    }


def dbt_sources() -> str:
    """Return the output of `canvas-sync dbt-sources` for the minimal example."""
    wanted = yaml.safe_load((ROOT / "examples" / "minimal" / "canvas_sync.yaml").read_text())["tenants"]["canvas"]
    models = [model for model in BUILT_IN if model.name in wanted["models"]]
    whole = {"version": 2, "sources": [dbt_source("canvas", "canvas", models)]}
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)


def commands_page() -> str:
    """Return the commands, from their help."""
    lines = [
        "# Commands",
        "",
        "For administrators who look up a command or an option. This page is generated from the code (`make docs`).",
        "",
    ]
    context = click.Context(canvas_sync, info_name="canvas-sync", terminal_width=100, max_content_width=100)
    for name in sorted(canvas_sync.list_commands(context)):
        command = canvas_sync.get_command(context, name)
        if command is not None:
            lines += _command(command.make_context(name, [], parent=context, resilient_parsing=True))
    return "\n".join(lines).rstrip() + "\n"


def _command(context: click.Context) -> list[str]:
    """Return the help of a command and its subcommands."""
    lines = [f"## `{context.command_path}`", "", "```", context.get_help(), "```", ""]
    if isinstance(context.command, click.Group):
        for name, command in sorted(context.command.commands.items()):
            lines += _command(command.make_context(name, [], parent=context, resilient_parsing=True))
    return lines


def our_pages() -> list[Path]:
    """Return all Markdown pages of the repository."""
    return sorted(
        [*ROOT.glob("*.md"), *HERE.rglob("*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("deploy/**/*.md")]
    )


def broken_links() -> Iterator[str]:
    """Yield each link without a target in this repository, and each image that no page links to."""
    linked: set[Path] = set()
    for page in our_pages():
        for target in _links(_prose(page)):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            goal = (page.parent / unquote(path)).resolve() if path else page
            linked.add(goal)
            if not goal.exists() or not goal.is_relative_to(ROOT):
                yield f"{page.relative_to(ROOT)}: {target} does not exist"
            elif anchor and anchor not in _anchors(goal):
                yield f"{page.relative_to(ROOT)}: {target}: no such heading"
    for lost in {*HERE.glob("images/*")} - linked:
        yield f"{lost.relative_to(ROOT)}: no page links to it"


def _links(text: str) -> Iterator[str]:
    """Yield the targets of inline links, images, references and HTML tags."""
    for found in re.finditer(
        r"""\]\(<?([^)>\s]+)>?[^)]*\)|^\[[^]]+\]: (\S+)|(?:src|href)="([^"]+)\"""", text, re.MULTILINE
    ):
        yield found[1] or found[2] or found[3]


def _prose(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub spells them; repeated headings get a number."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors


def settings_page() -> str:
    """Return the page of settings, from their declarations."""
    lines = [
        "# Settings",
        "",
        "For administrators who configure a sync. This page lists every setting with its default and its allowed values.",
        "It is generated from the code (`make docs`).",
        "",
        "Settings are read from these places; the first one that has a value takes precedence:",
        "",
        "1. environment variables,",
        "2. the file `.env`,",
        "3. `canvas_sync.yaml`, or the file that `CANVAS_SYNC_CONFIG` names.",
        "",
        "```yaml",
        "tenants:",
        "  school:",
        "    base_url: https://school.instructure.com",
        "    token: ${SCHOOL_TOKEN}   # a variable of the environment",
        "```",
        "",
        "With several tenants in the file, the environment sets address, token, account and database only for the tenant",
        "that `CANVAS_SYNC_TENANT` names. The file may also contain `mappings:` and `legacy_ids:`; see",
        "[mappings](../how-to/add-a-column.md).",
        "",
        "| variable | in the file | default | allowed |",
        "|---|---|---|---|",
    ]
    inherited = Policy.model_fields
    own = [name for name in TenantSettings.model_fields if name not in inherited]
    for name in (*own, *inherited):
        file_only = dict.fromkeys(("schema_name", "genres", "params", "translation", "alerts"), "")
        variable = ({"slug": f"`{PREFIX}TENANT`"} | file_only).get(name, f"`{PREFIX}{name.upper()}`")
        field = TenantSettings.model_fields[name]
        lines.append(f"| {variable} | `{field.alias or name}` | {_default(field)} | {_allowed(field)} |")
    shared = [
        f"| `{PREFIX}HOME` | | `.canvas_sync` | directory of the embedded PostgreSQL and of downloads |",
        f"| `{PREFIX}PG_BIN` | | the installed wheel | directory with the binaries of PostgreSQL 14 or newer |",
        f"| `{PREFIX}TENANTS` | | all | slugs, separated by commas, of the tenants that a code location loads |",
        f"| `{PREFIX}DAGSTER_DATABASE_URL` | | embedded | URL of the database of Dagster's storage |",
        f"| `{PREFIX}HEALTH_PORT` | | the port of events | port of the receiver's `/health` and `/metrics` |",
        "| `DATASERVICES_JWK_URL` | | Instructure's | URL of the keys of signed live events |",
        "| `PRODUCTION_KEY1`, `PRODUCTION_IV1` | | | key and fixed IV of encrypted live events, in hex or base64 |",
        "| `BULK_IMPORTER_BATCH_SIZE` | | by bytes | rows per frame when loading |",
    ]
    genres = [
        "",
        "## Genres",
        "",
        "Settings of a genre, in `genres: {name: {…}}` of a tenant. `schedule` is required; other settings default to those of the tenant.",
        "",
        "| in the file | allowed |",
        "|---|---|",
        *(f"| `{name}` | {_allowed(field)} |" for name, field in Genre.model_fields.items()),
    ]
    alerts = [
        "",
        "## Alerts",
        "",
        "Settings of alerts, in `alerts: {name: …}` of a tenant, or beside `tenants:` for all of them; "
        "[alerts](../how-to/alerts.md) describes what is sent.",
        "",
        "| in the file | default | allowed |",
        "|---|---|---|",
        *_nested(AlertSettings, ""),
        *_nested(EmailAlerts, "email."),
    ]
    return "\n".join([*lines, *shared, *genres, *_translation(), *alerts, ""])


def _translation() -> list[str]:
    tables = [Translation.model_fields, {name: NamedAttributes.model_fields[name] for name in ("key", "description")}]
    rows = [
        [f"| `{name}` | {_allowed(field)} | {_example(field)} |" for name, field in each.items()] for each in tables
    ]
    head = ["| in the file | allowed | example |", "|---|---|---|"]
    return [
        "",
        "## Translation",
        "",
        "Attributes of the assets in Dagster, in `translation: {…}` of a tenant. `tags` and `metadata` are added to the",
        "default ones; the others replace them. [Asset keys, groups and owners](../how-to/asset-keys.md)",
        "explains them.",
        "",
        *head,
        *rows[0],
        "",
        "An entry of `assets` may have all of these but `assets`, and takes precedence. It may also have:",
        "",
        *head,
        *rows[1],
    ]


def _example(field: FieldInfo) -> str:
    """Return the examples of a setting as YAML in one line."""
    texts = (yaml.safe_dump(each, default_flow_style=True, width=10**6) for each in field.examples or ())
    return " or ".join(f"`{text.removesuffix('...' + chr(10)).strip()}`" for text in texts)


def _nested(settings: type[BaseModel], prefix: str) -> list[str]:
    return [
        f"| `{prefix}{field.alias or name}` | {_default(field)} | {_allowed(field)} |"
        for name, field in settings.model_fields.items()
    ]


def _default(field: FieldInfo) -> str:
    if field.is_required() or field.default in (None, (), {}, Translation()):
        return ""
    return f"`{spelled(field.default)}`"


def _allowed(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


def main() -> int:
    """Write or check the pages, and return the exit code."""
    stale = [page for page, text in pages().items() if not page.is_file() or page.read_text(encoding="utf-8") != text]
    for page in stale:
        if "--check" in sys.argv:
            print(f"{page.relative_to(HERE.parent)} is stale: run `make docs`", file=sys.stderr)
        else:
            page.write_text(pages()[page], encoding="utf-8")
    broken = list(broken_links())
    for link in broken:
        print(link, file=sys.stderr)
    return 1 if broken or (stale and "--check" in sys.argv) else 0


if __name__ == "__main__":
    sys.exit(main())
