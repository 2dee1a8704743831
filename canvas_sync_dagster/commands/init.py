"""`canvas-sync init`: writes a code location of the user's own; run again, it shows what differs and asks."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from string import Template

import click

from canvas_sync_dagster.catalogue import BUILT_IN

TEMPLATES = Path(__file__).parent / "templates"


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--models", default="users,terms,courses,sections,enrollments", show_default=True, help="Comma list, or all."
)
@click.option("--live-events", "events", default="", help="Models whose live events get a handler stub; comma list.")
@click.option("--force", is_flag=True, help="Overwrite what differs, without asking.")
@click.option("--skip", is_flag=True, help="Leave what differs, without asking.")
def init(directory: Path, models: str, events: str, force: bool, skip: bool) -> None:
    """Write a code location of your own into DIRECTORY."""
    chosen, handled = _checked(models, "--models"), _checked(events, "--live-events")
    if "terms" not in chosen and "all" not in chosen:
        chosen = ["terms", *chosen]
    name = re.sub(r"\W+", "_", directory.resolve().name.lower()).strip("_") or "canvas"
    values = {"name": name, "models": ", ".join(chosen), "handlers": "".join(_stub(model) for model in handled)}
    values["imports"] = "from collections.abc import Callable\n" if handled else ""
    for source in sorted(TEMPLATES.glob("*.tmpl")):
        target = directory / source.name.removesuffix(".tmpl").replace("__", "/").replace("dot.", ".")
        _write(target, Template(source.read_text(encoding="utf-8")).substitute(values), force=force, skip=skip)
    click.echo(
        f"Next: cd {directory}, then `canvas-sync doctor -f definitions.py` and `dagster dev -f definitions.py`."
    )


def _checked(names: str, option: str) -> list[str]:
    found = [name.strip() for name in names.split(",") if name.strip()]
    known = [model.name for model in BUILT_IN]
    if unknown := [name for name in found if name not in known and name != "all"]:
        raise click.BadParameter(
            f"there is no model {', '.join(unknown)}; there are {', '.join(known)}", param_hint=option
        )
    return found


def _stub(model: str) -> str:
    return f'''

@sync.process_live_event("{model}")
def {model}_changed(event: LiveEvent, super_: Callable[[LiveEvent], None]) -> None:
    """Called for each live event of {model}; the default updates the table."""
    super_(event)
'''


def _write(target: Path, content: str, *, force: bool, skip: bool) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        click.echo(f"create  {target}")
        return
    present = target.read_text(encoding="utf-8")
    if present == content:
        click.echo(f"same    {target}")
        return
    lines = difflib.unified_diff(present.splitlines(), content.splitlines(), str(target), "generated", lineterm="")
    click.echo("\n".join(lines))
    if force or (not skip and click.confirm(f"overwrite {target}?", default=False)):
        target.write_text(content, encoding="utf-8")
        click.echo(f"written {target}")
    else:
        click.echo(f"kept    {target}")
