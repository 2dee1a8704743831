"""`canvas-sync init`: write a project with a code location. If files exist, show the differences and ask."""

from __future__ import annotations

import difflib
import importlib.util
import keyword
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template

import click
import yaml
from rich.console import RenderableType
from rich.text import Text

from canvas_sync_dagster.catalogue import BUILT_IN, with_carriers
from canvas_sync_dagster.commands.output import say, show, width_of_output
from canvas_sync_dagster.commands.rendering import paragraph
from canvas_sync_dagster.commands.typed import typed
from canvas_sync_dagster.configuration.tenant_reading import tenant_given_in_python
from canvas_sync_dagster.dagster_yaml import NAME, instance_file
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.extras import command as install_command

TEMPLATES = Path(__file__).parent / "templates"
FILES = {
    "pyproject.toml": "pyproject.toml",
    "src/{name}/__init__.py": "package.py",
    "src/{name}/definitions.py": "definitions.py",
    "src/{name}/defs/__init__.py": "defs.py",
    "tests/test_definitions.py": "test_definitions.py",
    "conftest.py": "conftest.py",
    # In the package, so that the wheel of the project contains it.
    "src/{name}/canvas_sync.yaml": "canvas_sync.yaml",
    "workspace.yaml": "workspace.yaml",
    ".env.example": "env.example",
    ".gitignore": "gitignore",
    "Dockerfile": "Dockerfile",
    ".dockerignore": "dockerignore",
    "compose.yaml": "compose.yaml",
    "create-dagster-database.sql": "create-dagster-database.sql",
    "wheels/README.md": "wheels.md",
    ".github/workflows/test.yml": "test.yml",
}
"""Path of each file in the project → its template. The shape is that of `create-dagster`."""
NEXT = (
    ("pytest", "syncs a simulated Canvas; needs neither Canvas nor a database"),
    ("canvas-sync doctor", "checks the settings, Canvas and the database"),
    ("dagster dev", "serves the UI and runs the daemon; PYTHONPATH is for a project that is not installed"),
)
"""What a person may type in the new project, and what it does."""
SCOPE = (
    "Only currently active terms are synced (`term_scope: active` in canvas_sync.yaml). The gem syncs every term by default; "
    "for the same, set `term_scope: all`."
)


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--models",
    default="users,terms,courses,sections,enrollments",
    show_default=True,
    help="Comma-separated list of models, or all.",
)
@click.option(
    "--live-events",
    "events",
    default="",
    help="Models for whose live events a handler is written: comma-separated list, or all.",
)
@click.option(
    "--tenant",
    default="canvas",
    show_default=True,
    help="Name of the tenant: the prefix of its assets, jobs and schedules.",
)
@click.option("--schema", help="PostgreSQL schema of the tables; the name of the tenant by default.")
@click.option("--force", is_flag=True, help="Overwrite files that differ, without asking.")
@click.option("--skip", is_flag=True, help="Keep files that differ, without asking.")
def init(
    directory: Path, models: str, events: str, tenant: str, schema: str | None, *, force: bool, skip: bool
) -> None:
    """Write a code location into DIRECTORY, with a test, a Dockerfile, a compose file and a CI workflow.

    \b
    Examples:
      canvas-sync init school
      canvas-sync init school --models users,courses --live-events users
      canvas-sync init school --tenant school --schema lms

    Run it again: it shows a diff of each file that differs, and asks.
    """
    if force and skip:
        raise click.UsageError("--force and --skip exclude each other; choose one")
    chosen = _checked(models, "--models", [model.name for model in BUILT_IN])
    told = [model.name for model in BUILT_IN if model.events]
    handled = _checked(events, "--live-events", told)
    if "all" in handled:
        handled = told
    if "terms" not in chosen and "all" not in chosen:
        chosen = ["terms", *chosen]
    values = {"name": _name(directory), "models": ", ".join(chosen), "handlers": "".join(map(_stub, handled))}
    values |= _written_tenant(tenant, schema)
    values["imports"] = "from collections.abc import Callable\n" if handled else ""
    for name, content in _files(values).items():
        target = directory / name
        try:
            _write(target, content, force=force, skip=skip)
        except OSError as error:
            raise click.ClickException(
                f"{target} cannot be written: {error.strerror}; choose another DIRECTORY"
            ) from None
    show(hints(directory, width_of_output()))


def hints(directory: Path, width: int | None) -> Iterator[RenderableType]:
    """Yield what to do next, as commands that can be typed in the shell of this person.

    Args:
        directory: The new project.
        width: Columns of the terminal, or None.
    """
    yield paragraph("Next:", width, style="bold")
    yield Text(f"  cd {shlex.quote(str(directory))}")
    yield Text("  cp .env.example .env")
    yield paragraph("then set CANVAS_SYNC_BASE_URL and CANVAS_SYNC_TOKEN in .env", width, mark="      ")
    if importlib.util.find_spec("dagster_webserver") is None or importlib.util.find_spec("pytest") is None:
        yield Text(f"  {install_command('dev')}")
    for command, what in NEXT:
        # An installed project needs no PYTHONPATH; pytest and canvas-sync find `src` themselves.
        path = "PYTHONPATH=src " if command.startswith("dagster") else ""
        yield Text(f"  {path}{typed(command, directory=directory)}")
        yield paragraph(what, width, mark="      ")
    yield Text("  docker compose up --build --detach")
    yield paragraph(
        "runs everything in containers; wheels/README.md has what to know about the installation", width, mark="      "
    )
    yield paragraph(SCOPE, width)


def _files(values: Mapping[str, str]) -> dict[str, str]:
    """Return the content of each file of a project, by its path."""
    return {path.format(**values): _filled(template, values) for path, template in FILES.items()} | {
        NAME: instance_file()
    }


def _filled(template: str, values: Mapping[str, str]) -> str:
    return Template((TEMPLATES / f"{template}.tmpl").read_text(encoding="utf-8")).substitute(values)


def _name(directory: Path) -> str:
    """Return a name derived from a directory that Python can import, and every packaging tool accepts."""
    plain = unicodedata.normalize("NFKD", directory.resolve().name).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or "canvas"
    return f"canvas_{name}" if name[0].isdigit() or _is_taken(name, directory.resolve()) else name


def _is_taken(name: str, directory: Path) -> bool:
    """Return whether a package of another project has this name, or Python uses it."""
    if keyword.iskeyword(name) or name in sys.stdlib_module_names or name in {"tests", "conftest"}:
        return True
    found = importlib.util.find_spec(name)
    return found is not None and found.origin is not None and not Path(found.origin).is_relative_to(directory)


def _checked(names: str, option: str, known: list[str]) -> list[str]:
    found = list(with_carriers(name.strip() for name in names.split(",") if name.strip()))
    if unknown := [name for name in found if name not in known and name != "all"]:
        raise click.BadParameter(f"{', '.join(unknown)} is not among {', '.join(known)}, or all", param_hint=option)
    return found


def _written_tenant(tenant: str, schema: str | None) -> dict[str, str]:
    """Return the tenant's values in the templates.

    Raises:
        click.BadParameter: The tenant or the schema has a name that the settings refuse.
    """
    for option, given in (("--tenant", {"slug": tenant}), ("--schema", {"slug": "canvas", "schema": schema})):
        try:
            tenant_given_in_python({"base_url": "https://school.instructure.com"} | given)
        except SettingError as error:
            raise click.BadParameter(error.without_setting(), param_hint=option) from None
    return {"tenant": _scalar(tenant), "schema": f"    schema: {_scalar(schema)}\n" if schema else ""}


def _scalar(text: str) -> str:
    """Return a text as YAML, in quotes if YAML would read it as something else, such as `on`."""
    return yaml.safe_dump(text).removesuffix("...\n").strip()


def _stub(model: str) -> str:
    return f'''


@sync.process_live_event("{model}")
def {model}_changed(event: LiveEvent, super_: Callable[[LiveEvent], None]) -> None:
    """Called for each live event of {model}; the default updates the table."""
    super_(event)'''


def _write(target: Path, content: str, *, force: bool, skip: bool) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        say(f"create  {target}")
        return
    present = target.read_text(encoding="utf-8", errors="replace")
    if present == content:
        say(f"same    {target}")
        return
    lines = difflib.unified_diff(present.splitlines(), content.splitlines(), str(target), "generated", lineterm="")
    say("\n".join(lines))
    if force or (not skip and click.confirm(f"overwrite {target}?", default=False)):
        target.write_text(content, encoding="utf-8")
        say(f"written {target}")
    else:
        say(f"kept    {target}")
