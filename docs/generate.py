"""Writes the pages that follow from the code; with `--check` it only says which are stale, and which links are broken."""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import click
import yaml
from picture import entity_picture
from pydantic.fields import FieldInfo

from canvas_sync_dagster import (
    Canvas,
    CanvasSync,
    CanvasSyncComponent,
    DownloadedReport,
    InsertionContext,
    LiveEvent,
    ReportContext,
    Term,
    testing,
)
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.dictionary import data_dictionary, dbt_source
from canvas_sync_dagster.catalogue.overrides import MappingOverride
from canvas_sync_dagster.cli import main as canvas_sync
from canvas_sync_dagster.settings import PREFIX
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync import fetching
from canvas_sync_dagster.tenants import Genre, Policy, TenantSettings

HERE = Path(__file__).parent
ROOT = HERE.parent
DBT = ROOT / "examples" / "dbt" / "models" / "sources.yml"


def pages() -> dict[Path, str]:
    """Maps each generated page to what it should hold."""
    return {
        HERE / "tables.md": data_dictionary(BUILT_IN),
        HERE / "images" / "tables.svg": entity_picture(BUILT_IN),
        HERE / "settings.md": settings_page(),
        HERE / "reference.md": reference_page(),
        DBT: dbt_sources(),
    }


def dbt_sources() -> str:
    """Returns what `canvas-sync dbt-sources` prints for the minimal example."""
    wanted = yaml.safe_load((ROOT / "examples" / "minimal" / "canvas_sync.yaml").read_text())["tenants"]["canvas"]
    models = [model for model in BUILT_IN if model.name in wanted["models"]]
    whole = {"version": 2, "sources": [dbt_source("canvas", "canvas", models)]}
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)


def reference_page() -> str:
    """Lists what users call, from signatures and docstrings, and the commands, from their help."""
    lines = ["# Reference", "", "Generated from the code; `make docs` writes it again.", "", "## In Python", ""]
    for each in (
        CanvasSync,
        MappingOverride,
        LiveEvent,
        DownloadedReport,
        ReportContext,
        InsertionContext,
        Canvas,
        Term,
        CanvasSyncComponent,
    ):
        lines += [f"### `{each.__name__}`", "", *_docstring(each), ""]
        lines += [line for name, member in _members(each) for line in _entry(name, member)]
    lines += ["### Asking Canvas yourself", "", *_docstring(fetching), ""]
    for name in ("fetch", "find_or_fetch", "load_objects"):
        lines += _entry(name, getattr(fetching, name))
    lines += ["### `canvas_sync_dagster.testing`", "", *_docstring(testing), ""]
    for name in ("simulated_canvas", "embedded_postgres", "code_location"):
        lines += _entry(name, getattr(testing, name))
    for each in (testing.LocationUnderTest, SimulatedCanvas):
        lines += [f"### `{each.__name__}`", "", *_docstring(each), ""]
        lines += [line for name, member in _members(each) for line in _entry(name, member)]
    lines += ["## Commands", ""]
    context = click.Context(canvas_sync, info_name="canvas-sync", terminal_width=100, max_content_width=100)
    for name in sorted(canvas_sync.list_commands(context)):
        command = canvas_sync.get_command(context, name)
        if command is not None:
            lines += _command(command.make_context(name, [], parent=context, resilient_parsing=True))
    return "\n".join(lines).rstrip() + "\n"


def _members(of: type) -> Iterator[tuple[str, object]]:
    for name, member in vars(of).items():
        inner = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        if not name.startswith("_") and (inspect.isfunction(inner) or isinstance(inner, property)):
            yield name, inner


def _entry(name: str, member: object) -> list[str]:
    if isinstance(member, property):
        return [f"#### `{name}`", "", *_docstring(member), ""]
    signature = inspect.signature(inspect.unwrap(member))  # type: ignore[arg-type]
    given = [each for each in signature.parameters.values() if each.name not in {"self", "cls"}]
    shown = str(signature.replace(parameters=given)).replace("canvas_sync_dagster.", "")
    shown = re.sub(r"(: |-> )'([^']*)'", r"\1\2", shown)
    return [f"#### `{name}{shown}`", "", *_docstring(member), ""]


def _docstring(of: object) -> list[str]:
    """Makes Markdown of a docstring: its sections become lists."""
    lines = []
    for line in (inspect.getdoc(of) or "").splitlines():
        if re.fullmatch(r"(Args|Attributes|Raises|Yields|Returns):", line):
            lines += [f"*{line[:-1]}*", ""]
        elif match := re.fullmatch(r"    (\w+): (.*)", line):
            lines.append(f"- `{match[1]}`: {match[2]}")
        else:
            lines.append(f"  {line.strip()}" if line.startswith("        ") else line)
    return lines


def _command(context: click.Context) -> list[str]:
    """Shows the help of a command and of those below it."""
    lines = [f"### `{context.command_path}`", "", "```", context.get_help(), "```", ""]
    if isinstance(context.command, click.Group):
        for name, command in sorted(context.command.commands.items()):
            lines += _command(command.make_context(name, [], parent=context, resilient_parsing=True))
    return lines


def our_pages() -> list[Path]:
    """Lists our Markdown."""
    return sorted(
        [*ROOT.glob("*.md"), *HERE.glob("*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("deploy/**/*.md")]
    )


def broken_links() -> Iterator[str]:
    """Yields each link and image of our Markdown that points to nothing here, and each page and image without a link."""
    linked: set[Path] = set()
    for page in our_pages():
        for target in _links(_prose(page)):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            goal = (page.parent / unquote(path)).resolve() if path else page
            linked.add(goal)
            if not goal.exists() or not goal.is_relative_to(ROOT):
                yield f"{page.relative_to(ROOT)}: {target} is not there"
            elif anchor and anchor not in _anchors(goal):
                yield f"{page.relative_to(ROOT)}: {target} has no such heading"
    for lost in {*HERE.glob("*.md"), *HERE.glob("images/*")} - linked:
        yield f"{lost.relative_to(ROOT)}: no page links to it"


def _links(text: str) -> Iterator[str]:
    """Yields where inline links, references and HTML tags point to; an image is a link, too."""
    for found in re.finditer(
        r"""\]\(<?([^)>\s]+)>?[^)]*\)|^\[[^]]+\]: (\S+)|(?:src|href)="([^"]+)\"""", text, re.MULTILINE
    ):
        yield found[1] or found[2] or found[3]


def _prose(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """Spells headings as forges do; one that is there again gets a number."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors


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
    inherited = Policy.model_fields
    own = [name for name in TenantSettings.model_fields if name not in inherited]
    for name in (*own, *inherited):
        variable = {"slug": f"`{PREFIX}TENANT`", "schema_name": "", "genres": "", "params": ""}.get(
            name, f"`{PREFIX}{name.upper()}`"
        )
        field = TenantSettings.model_fields[name]
        lines.append(f"| {variable} | `{field.alias or name}` | {_default(field)} | {_allowed(field)} |")
    shared = [
        f"| `{PREFIX}HOME` | | `.canvas_sync` | a directory for the embedded PostgreSQL and downloads |",
        f"| `{PREFIX}PG_BIN` | | the wheel's | PostgreSQL's programs, 14 or newer |",
        f"| `{PREFIX}DAGSTER_DATABASE_URL` | | embedded | where Dagster keeps its own tables |",
        f"| `{PREFIX}HEALTH_PORT` | | the port of events | port for `/health` and `/metrics` of the receiver |",
        "| `DATASERVICES_JWK_URL` | | Instructure's | where the keys of signed live events are |",
        "| `PRODUCTION_KEY1`, `PRODUCTION_IV1` | | | key and fixed IV of encrypted live events, in hex or base64 |",
        "| `BULK_IMPORTER_BATCH_SIZE` | | by bytes | rows per frame when loading |",
    ]
    genres = [
        "",
        "## Genres",
        "",
        "What `genres: {name: {…}}` of a tenant may hold. A schedule is needed; what is left out is as the tenant has it.",
        "",
        "| in the file | allowed |",
        "|---|---|",
        *(f"| `{name}` | {_allowed(field)} |" for name, field in Genre.model_fields.items()),
    ]
    return "\n".join([*lines, *shared, *genres, ""])


def _default(field: FieldInfo) -> str:
    if field.default in (None, (), {}):
        return ""
    return f"`{', '.join(field.default) if isinstance(field.default, tuple) else field.default}`"


def _allowed(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


def main() -> int:
    """Writes or checks; returns the exit code."""
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
