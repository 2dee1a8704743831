"""Write the generated pages. With `--check`, only report stale pages and broken links, and exit with 1."""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import yaml
from picture import entity_picture
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from canvas_sync_dagster import errors
from canvas_sync_dagster.alert_settings import AlertSettings, EmailAlerts
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.dbt import dbt_source, staging_model, staging_name
from canvas_sync_dagster.catalogue.dictionary import data_dictionary
from canvas_sync_dagster.cli import main as canvas_sync
from canvas_sync_dagster.configuration.environment import PREFIX
from canvas_sync_dagster.configuration.spelling import spelled
from canvas_sync_dagster.dagster_yaml import NAME, instance_file
from canvas_sync_dagster.live_events.budget import Budget
from canvas_sync_dagster.live_events.health import InboxHealth
from canvas_sync_dagster.live_events.keys import KeySet
from canvas_sync_dagster.live_events.metrics import Metrics
from canvas_sync_dagster.tenants import Genre, Policy, TenantSettings
from canvas_sync_dagster.translation_settings import NamedAttributes, Translation

HERE = Path(__file__).parent
ROOT = HERE.parent
REFERENCE = HERE / "reference"
ERROR_KINDS: dict[type[errors.CanvasSyncError], str] = {
    errors.MisconfiguredError: "A person must change a setting, a permission or the schema. Exit code 2.",
    errors.TransientError: "Canvas, the database or this machine is unavailable: run it again later. Exit code 1.",
    errors.PermanentError: "The same request will get the same answer: correct the cause first. Exit code 1.",
    errors.DataRejectedError: "Canvas delivered something that cannot be loaded; nothing was published. Exit code 1.",
    errors.DeliveryError: "The receiver did not accept an event. The sender gets the HTTP status.",
}
"""Base class → who must act."""
DBT = ROOT / "examples" / "dbt" / "models"


def pages() -> dict[Path, str]:
    """Return the expected content of each generated page and file."""
    return {
        REFERENCE / "tables.md": data_dictionary(BUILT_IN),
        HERE / "images" / "tables.svg": entity_picture(BUILT_IN),
        REFERENCE / "settings.md": settings_page(),
        REFERENCE / "commands.md": commands_page(),
        REFERENCE / "errors.md": errors_page(),
        REFERENCE / "events.md": events_page(),
        REFERENCE / "metrics.md": metrics_page(),
        DBT / "sources.yml": dbt_sources(),
        **{
            DBT / "staging" / f"{staging_name('canvas', model)}.sql": staging_model("canvas", model, BUILT_IN)
            for model in BUILT_IN
        },
        ROOT / NAME: instance_file(),
    }


def dbt_sources() -> str:
    """Return the output of `canvas-sync dbt-sources` for all models."""
    whole = {"version": 2, "sources": [dbt_source("canvas", "canvas", BUILT_IN)]}
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
        "Dagster's own commands, such as `dagster dev` and `dagster asset materialize`, set what `.env` in their working",
        "directory contains before they load a code location: for them `.env` goes before the environment. Write a variable",
        "in one of the two only; `canvas-sync` warns of each that has different values in both.",
        "",
        "```yaml",
        "tenants:",
        "  school:",
        "    base_url: https://school.instructure.com",
        "    token: ${SCHOOL_TOKEN}   # a variable of the environment",
        "```",
        "",
        "With several tenants in the file, the environment sets address, token, account and database only for the tenant",
        "that `CANVAS_SYNC_TENANT` names: write them for each tenant, for example `database_url: ${CANVAS_SYNC_DATABASE_URL}`.",
        "A tenant without `database_url` is refused while `CANVAS_SYNC_DATABASE_URL` is set, so that its tables do not move",
        "to the embedded PostgreSQL; `database_url: null` chooses that. The file may also contain `mappings:` and `legacy_ids:`; see",
        "[mappings](../how-to/add-a-column.md).",
        "",
        "| variable, and its name in the file | default | what it does, when to change it, and what is allowed |",
        "|---|---|---|",
    ]
    purposes = yaml.safe_load((HERE / "settings.yaml").read_text(encoding="utf-8"))
    inherited = Policy.model_fields
    own = [name for name in TenantSettings.model_fields if name not in inherited]
    for name in (*own, *inherited):
        file_only = dict.fromkeys(("schema_name", "genres", "params", "translation", "alerts"), "")
        variable = ({"slug": f"`{PREFIX}TENANT`"} | file_only).get(name, f"`{PREFIX}{name.upper()}`")
        field = TenantSettings.model_fields[name]
        names = "<br>".join(each for each in (variable, f"`{field.alias or name}`") if each)
        purpose = _noted(purposes, name, "settings.yaml")
        lines.append(f"| {names} | {_default(field)} | {purpose}<br>*Allowed:* {_allowed(field)} |")
    if purposes:
        raise KeyError(f"docs/settings.yaml: no such settings: {', '.join(purposes)}")
    shared = [
        "",
        "## Shared by all tenants",
        "",
        "| variable | default | what it is |",
        "|---|---|---|",
        f"| `{PREFIX}HOME` | `.canvas_sync` | directory of the embedded PostgreSQL and of downloads |",
        f"| `{PREFIX}PG_BIN` | the installed wheel | directory with the binaries of PostgreSQL 14 or newer |",
        f"| `{PREFIX}TENANTS` | all | slugs, separated by commas, of the tenants that a code location loads |",
        f"| `{PREFIX}DAGSTER_DATABASE_URL` | embedded | URL of the database of Dagster's storage |",
        f"| `{PREFIX}PRELOAD_RUN_WORKERS` | `true` | whether the code server starts runs as "
        "[forks of a process that has imported Dagster](../understand/decisions/0012-preloaded-run-workers.md) |",
        f"| `{PREFIX}HEALTH_PORT` | the port of events | port of the receiver's `/health` and `/metrics` |",
        "| `DATASERVICES_JWK_URL` | Instructure's | URL of the keys of signed live events |",
        "| `PRODUCTION_KEY1`, `PRODUCTION_IV1` | | key and fixed IV of encrypted live events, in hex or base64 |",
        "| `BULK_IMPORTER_BATCH_SIZE` | by bytes | rows per frame when loading |",
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


def errors_page() -> str:
    """Return the page of errors: what each class means, its cause and its remedy."""
    causes = yaml.safe_load((HERE / "errors.yaml").read_text(encoding="utf-8"))
    lines = [
        "# Errors",
        "",
        "For people who see an error. This page lists every class with its cause and its remedy. A message states what "
        "happened, where (tenant, model, term, report), and what to do. This page is generated from the code (`make docs`).",
        "",
        "Every command exits with 0 on success, 1 if something failed, and 2 if the command line, a setting or the schema "
        "is wrong. With several tenants, 1 takes precedence.",
    ]
    for kind, text in ERROR_KINDS.items():
        lines += ["", f"## {_words(kind)}", "", text]
        for each in sorted(_leaves(kind), key=lambda found: found.__name__):
            cause, remedy = _noted(causes, each.__name__, "errors.yaml")
            meaning = (inspect.getdoc(each) or "").split("\n\n")[0].replace("\n", " ")
            lines += [
                "",
                f"### {each.__name__}",
                "",
                meaning,
                "",
                f"- **Cause.** {cause}",
                f"- **What to do.** {remedy}",
            ]
    if causes:
        raise KeyError(f"docs/errors.yaml: no such errors: {', '.join(causes)}")
    return "\n".join([*lines, ""])


def _noted(notes: dict[str, Any], name: str, file: str) -> Any:
    """Take an entry of a file of notes.

    Raises:
        ValueError: There is none.
    """
    if name not in notes:
        raise ValueError(f"docs/{file} has no entry for {name}: add one, in the form of the others")
    return notes.pop(name)


def _leaves(kind: type[errors.CanvasSyncError]) -> set[type[errors.CanvasSyncError]]:
    """Return the classes of a kind that are raised: those without subclasses."""
    found = {each for below in kind.__subclasses__() for each in _leaves(below)}
    return found or {kind}


def _words(kind: type) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__.removesuffix("Error")).capitalize()


def events_page() -> str:
    """Return the page of live events, from the declarations of the models."""
    lines = [
        "# Live events",
        "",
        "For administrators who subscribe to live events in Canvas. Subscribe to the events of the models that you sync; others "
        "are stored, and ignored unless a [function of yours](../how-to/handle-live-events.md) handles them. This page is "
        "generated from the catalogue (`make docs`).",
        "",
        "*Applied from the body* means that the event itself changes the row, if it is newer than the last sync of the model and "
        "nothing in it is omitted or truncated. Otherwise the object is read from Canvas, once for all its waiting events.",
        "",
        "| model | events | applied from the body |",
        "|---|---|---|",
    ]
    for model in BUILT_IN:
        if model.events:
            names = ", ".join(f"`{name}`" for name in model.events.names)
            lines.append(f"| [{model.name}](tables.md#{model.name}) | {names} | {model.events.suffices} |")
    silent = ", ".join(f"[{model.name}](tables.md#{model.name})" for model in BUILT_IN if not model.events)
    lines += [
        "",
        f"Canvas has no events about these models, or none that helps; syncs alone change them: {silent}.",
        "",
    ]
    return "\n".join(lines)


def metrics_page() -> str:
    """Return the page of metrics, from what a receiver serves."""
    metrics = Metrics(Budget(), KeySet(""))
    metrics.count_answer("school", 200)
    text = metrics.text({"school": InboxHealth(database="ok", waiting=0, dead=0, oldest_seconds=0)}).decode()
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, flags=re.MULTILINE))
    kinds = dict(re.findall(r"^# TYPE (\S+) (.*)$", text, flags=re.MULTILINE))
    lines = [
        "# Metrics",
        "",
        "For administrators who monitor the receiver of live events with Prometheus. It serves these metrics at `/metrics`, at "
        "the port of events or of `--health-port`; [what to watch](../how-to/receiver.md#what-to-watch) describes the health check. "
        "This page is generated from the code (`make docs`).",
        "",
        "| metric | type | meaning |",
        "|---|---|---|",
        *(
            f"| `{name}` | {kinds[name]} | {meaning} |"
            for name, meaning in helps.items()
            if not name.endswith("_created")
        ),
        "",
        "Metrics of a tenant have the label `tenant`; the first one also has `status`, the HTTP status of the answer, and "
        "`…_closed_total` has `limit`.",
        "",
        "Useful alerts: `canvas_sync_live_events_database_up == 0`; `canvas_sync_live_events_oldest_seconds > 900`; "
        '`increase(canvas_sync_live_events_total{status="401"}[1h]) > 10`, which means wrong signatures; and a receiver that '
        "does not answer.",
        "",
        "Syncs have no Prometheus metrics: their figures are in the metadata of each materialization, which Dagster plots, in "
        "the [journal](../how-to/logs.md), and in `canvas-sync status --json`.",
        "",
    ]
    return "\n".join(lines)


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
