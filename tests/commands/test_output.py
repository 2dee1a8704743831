"""What commands print is a text: texts of others change no terminal, and all output passes one module."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.table import Table

from canvas_sync_dagster.commands.output import console

PACKAGE = Path(__file__).parent.parent.parent / "canvas_sync_dagster"
PRINTS = re.compile(r"click\.s?echo\(|\bConsole\(|(?<![\w.])print\(|sys\.std(?:out|err)\.write")
EVIL = "[bold]x[/bold] [link=http://evil.test]y[/link] :bomb: \x1b[2J\x1b]0;title\x07\x9b31m"


def test_names_of_others_are_neither_markup_nor_escape_sequences() -> None:
    made = console()
    made.file = io.StringIO()
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(EVIL)
    made.print(table)
    made.print(EVIL, style="red")
    shown = made.file.getvalue()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    assert shown.count("[bold]x[/bold]") >= 2
    assert ":bomb:" in shown
    assert "\\x1b[2J" in shown


def test_commands_print_through_one_module() -> None:
    files = [PACKAGE / "cli.py", *sorted((PACKAGE / "commands").rglob("*.py"))]
    found = [file.name for file in files if file.name != "output.py" and PRINTS.search(file.read_text())]
    assert found == []
