"""`canvas-sync psql`: open psql on a tenant's database, or a small prompt where psql is not installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import psycopg
from psycopg.conninfo import make_conninfo
from rich.console import RenderableType

from canvas_sync_dagster.commands.known_demo import located_or_demo
from canvas_sync_dagster.commands.location import Location
from canvas_sync_dagster.commands.output import ask_for, complain, say, show, width_of_output
from canvas_sync_dagster.commands.questions import QUESTIONS, Question, Result, ask
from canvas_sync_dagster.commands.rendering import Column, counted, paragraph, table
from canvas_sync_dagster.embedded.server import find_binaries
from canvas_sync_dagster.errors import CanvasSyncError, EmbeddedPostgresError, SettingError
from canvas_sync_dagster.postgres_url import ENCODING, parts_of, redacted
from canvas_sync_dagster.printable import ended
from canvas_sync_dagster.sync.session import database_url
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import connect

if TYPE_CHECKING:
    from typing import TextIO

SECRETS = {"password": "PGPASSWORD"}
"""Parameters of libpq that other users of this machine must not see → the environment variable that psql reads."""
UNPASSED = {"sslpassword"}
"""Secrets that have no environment variable: psql asks for them."""
MOST_ROWS = 200
"""Rows that the small prompt shows of a result."""
CONNECT_SECONDS = 15
TABLES = "select tablename as table from pg_catalog.pg_tables where schemaname = current_schema() order by 1"
HELP = r"Type SQL and end it with a semicolon; \dt lists the tables, \q ends."


@click.command(context_settings={"ignore_unknown_options": False})
@click.option("-c", "commands", multiple=True, metavar="SQL", help="Execute this and exit; may be repeated.")
@click.option("--samples", is_flag=True, help="Answer three sample questions, and show their SQL.")
@click.option("--write", is_flag=True, help="Allow changes; without it every transaction is read-only.")
@click.option("--tenant", help="The tenant; required if there are several.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- PSQL_OPTION ...]")
@located_or_demo()
def psql(
    location: Location,
    *,
    commands: tuple[str, ...],
    samples: bool,
    write: bool,
    tenant: str | None,
    arguments: tuple[str, ...],
) -> None:
    """Open psql on a tenant's database, or on that of the demo in this directory.

    \b
    Examples:
      canvas-sync psql
      canvas-sync psql --samples
      canvas-sync psql -c "select count(*) from users"
      canvas-sync psql -c "select * from terms" -- --csv

    Tables are found by their names, without the schema. Passwords are passed to psql in its environment, never as an
    argument. Without psql, a small read-only prompt is opened.
    """
    chosen = _tenant(location, tenant)
    url, schema = database_url(location.settings, chosen), chosen.schema_in_database
    if samples:
        for question in QUESTIONS:
            show(_answered(question, ask(url, schema, question.query), width_of_output()))
        return
    program = find_psql()
    if program is None:
        _prompt(url, schema, commands, write=write, arguments=arguments)
        return
    call = _call(url, schema, write=write)
    extra = [part for command in commands for part in ("-c", command)]
    sys.exit(_run([str(program), *extra, *arguments, "-d", call.conninfo], call.environment))


def _tenant(location: Location, slug: str | None) -> TenantSettings:
    tenants = location.tenants(slug)
    if len(tenants) != 1:
        allowed = ", ".join(each.slug for each in tenants)
        raise SettingError("--tenant", "several tenants are configured; specify one", allowed=allowed)
    return tenants[0]


def find_psql() -> Path | None:
    """Return the psql of the PATH, or that of the embedded PostgreSQL; None if there is none."""
    if found := shutil.which("psql"):
        return Path(found)
    try:
        embedded = find_binaries() / "psql"
    except EmbeddedPostgresError:
        return None
    return embedded if embedded.is_file() else None


@dataclass(frozen=True, slots=True)
class Call:
    """How psql is told where to connect.

    Attributes:
        conninfo: Parameters that anyone on this machine may see.
        environment: Variables with the secrets.
    """

    conninfo: str
    environment: Mapping[str, str]


def call_of(url: str, schema: str, *, write: bool, options: bool = True) -> Call:
    """Return how psql connects to a database.

    Args:
        url: Of the database, with its password.
        schema: Schema in which tables are found by their names.
        write: Whether transactions may change anything.
        options: Whether the server accepts start-up options; poolers may refuse them.
    """
    given = parts_of(url)
    environment = {SECRETS[name]: given.pop(name) for name in SECRETS if name in given}
    shown = {name: value for name, value in given.items() if name not in UNPASSED}
    if options:
        name = '"' + schema.replace('"', '""') + '"'
        escaped = name.replace("\\", "\\\\").replace(" ", "\\ ")
        words = [shown.get("options", ""), f"-c search_path={escaped},public"]
        words += [] if write else ["-c default_transaction_read_only=on"]
        shown["options"] = " ".join(word for word in words if word)
    return Call(make_conninfo(**shown), {**environment, "PGCLIENTENCODING": ENCODING})


def _call(url: str, schema: str, *, write: bool) -> Call:
    """Return how psql connects; with start-up options, unless a pooler refuses them.

    Raises:
        CanvasSyncError: The database cannot be reached; psql would not say what to do.
    """
    wanted = call_of(url, schema, write=write)
    with connect(url):
        pass
    try:
        password = {"password": wanted.environment["PGPASSWORD"]} if "PGPASSWORD" in wanted.environment else {}
        psycopg.connect(make_conninfo(wanted.conninfo, **password, connect_timeout=CONNECT_SECONDS)).close()
    except psycopg.OperationalError:
        if not write:
            problem = f"{redacted(url)} refuses start-up options, as poolers do, so that psql could not be read-only"
            raise CanvasSyncError(f"{ended(problem)} Use a direct connection, or add --write.") from None
        say(f"A pooler refuses start-up options: write the schema before the names of tables, {schema}.users", err=True)
        return call_of(url, schema, write=write, options=False)
    return wanted


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run psql; Ctrl-C belongs to it, and must not end this process before it: that would stop an embedded server."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.run(
            arguments, env={**os.environ, **environment}, check=False, preexec_fn=_default_interrupt
        ).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _answered(question: Question, result: Result, width: int | None) -> Iterator[RenderableType]:
    yield paragraph(question.text, width, style="bold")
    yield ""
    for line in question.query.splitlines():
        yield paragraph(line, width, mark="  ")
    yield ""
    yield result_table(result, width)
    yield ""


def result_table(result: Result, width: int | None) -> RenderableType:
    """Return the table of a result; cells that do not fit the width are truncated."""
    return table([Column(name, shrinks=True) for name in result.headings], result.rows, width)


def _prompt(url: str, schema: str, commands: Sequence[str], *, write: bool, arguments: Sequence[str]) -> None:
    """Execute statements, of the command line or typed, one transaction each."""
    if write or arguments:
        raise click.UsageError(
            "psql is not installed, and the small prompt supports neither --write nor options of psql"
        )
    failed = False
    for statement in commands or _typed(sys.stdin, redacted(url)):
        try:
            result = ask(url, schema, TABLES if statement == r"\dt" else statement, most=MOST_ROWS)
        except CanvasSyncError as error:
            # PostgreSQL rejects the statement: its message, without our remedy for syncs.
            cause = error.__cause__
            complain(str(cause.diag.message_primary or error) if isinstance(cause, psycopg.Error) else str(error))
            failed = True
            continue
        if result.headings:
            show([result_table(result, width_of_output()), f"({counted(len(result.rows), 'row')})"])
        else:
            say(result.status)
    if failed and commands:
        sys.exit(1)


def _typed(source: TextIO, name: str) -> Iterator[str]:
    r"""Yield statements without their semicolon, until the end of the input or `\q`."""
    interactive = source.isatty()
    if interactive:
        say(f"psql is not installed: a read-only prompt on {name}. {HELP}")
    lines: list[str] = []
    while True:
        if interactive:
            ask_for("... " if lines else "=> ")
        line = source.readline()
        if not line or line.strip() == r"\q":
            return
        if line.strip() == r"\dt" and not lines:
            yield r"\dt"
            continue
        lines.append(line)
        if line.rstrip().endswith(";"):
            yield "".join(lines).strip().rstrip(";")
            lines = []
