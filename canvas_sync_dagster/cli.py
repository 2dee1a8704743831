"""`canvas-sync`: the commands that people type. Exit codes: 0 done, 1 something failed, 2 wrong usage or configuration."""

from __future__ import annotations

import importlib
from typing import Any

import click

from canvas_sync_dagster.commands.output import complain, say
from canvas_sync_dagster.errors import CanvasSyncError, MisconfiguredError
from canvas_sync_dagster.extras import remedy
from canvas_sync_dagster.redaction import trace

GROUPS = {
    "Start": (
        ("demo", "demo", "Sync a simulated Canvas into an embedded PostgreSQL, through Dagster."),
        ("init", "init", "Write your own code location."),
        ("doctor", "doctor", "Check settings, token, reports, clock, database and live-event keys."),
        ("migrate", "migrate", "Create and additively upgrade the tables."),
    ),
    "Sync": (
        ("sync", "sync", "Sync now, on the Dagster instance."),
        ("status", "status", "Show rows, freshness, suspects, rejects and waiting events."),
        ("psql", "psql", "Open psql on the tables; answer three sample questions."),
        ("live-events", "receive", "Receive live events."),
    ),
    "Repair": (
        ("reconcile", "repair", "Ask Canvas about rows that its reports no longer list."),
        ("audit", "audit", "Estimate how true the tables are, by a random sample that is read from Canvas."),
        ("replay", "repair", "Apply rejected rows or dead live events again, after a fix."),
        ("erase", "repair", "Remove one person from all tables and logs of the sync."),
    ),
    "Develop and deploy": (
        ("workspace", "workspace", "Write a workspace whose code locations share the tenants among them."),
        ("dbt-sources", "dbt_sources", "Print a sources.yml for dbt."),
        ("simulate", "simulate", "Serve a simulated Canvas to develop against."),
    ),
}
"""Heading → name of each command, its module in `commands`, and its summary. The command is the attribute of the same name."""


COMMANDS = tuple(command for commands in GROUPS.values() for command in commands)


class _Group(click.Group):
    """A group whose commands end our errors as one line and the right exit code."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by group, each with its whole summary."""
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, summary) for name, _, summary in commands])

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except CanvasSyncError as error:
            complain(f"error: {error}")
            context.exit(2 if isinstance(error, MisconfiguredError) else 1)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            needed_by = f"canvas-sync {context.invoked_subcommand}"
            if isinstance(error, ModuleNotFoundError) and (sentence := remedy(error.name, needed_by)):
                complain(f"error: {sentence}")
                context.exit(2)
            # Python's own stack trace would quote rows.
            say(trace(error), err=True)
            context.exit(1)


class _Lazy(click.Command):
    """A command whose module is imported when it is called: Dagster alone takes 0.6 seconds, which `--help` need not."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, help=summary, add_help_option=False, context_settings={"ignore_unknown_options": True})
        self._module = module

    def load(self) -> click.Command:
        """Import the command."""
        module = importlib.import_module(f"canvas_sync_dagster.commands.{self._module}")
        command: click.Command = getattr(module, str(self.name).replace("-", "_"))
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        return self.load().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return ctx.command.invoke(ctx)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="canvas-sync-dagster")
def main() -> None:
    """Keep a copy of a Canvas LMS in Postgres true.

    \b
    Examples:
      canvas-sync demo
      canvas-sync doctor
      canvas-sync sync --models users,courses
      canvas-sync status --by-term
      canvas-sync COMMAND --help

    \b
    Exit codes:
      0  done
      1  something failed, and is named
      2  wrong usage or configuration

    Tables fit the width of the terminal. Without a terminal, and with NO_COLOR, there are no colors. For the completion of
    commands and options, put this into ~/.bashrc (or ~/.zshrc, with zsh_source):

    \b
      eval "$(_CANVAS_SYNC_COMPLETE=bash_source canvas-sync)"
    """


for _command in COMMANDS:
    main.add_command(_Lazy(*_command))


if __name__ == "__main__":
    main()
