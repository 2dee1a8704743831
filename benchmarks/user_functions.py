"""Measures what the user's own Python adds to a load. usage: user_functions.py [ROWS]

Loads a users report without functions, with one transform of the value alone, of value and record, with one alteration,
and row by row with a connection by a function that does nothing. Prints µs of wall time per row; for the first three,
in addition to the load without functions.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from canvas_sync_dagster.catalogue import BUILT_IN, Model
from canvas_sync_dagster.catalogue.overrides import MappingOverride
from canvas_sync_dagster.testing import embedded_postgres
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.loading.load import Source, load_csv
from canvas_sync_dagster.warehouse.loading.row_by_row import load_row_by_row
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.warehouse import Table, Warehouse

USERS = next(model for model in BUILT_IN if model.name == "users")
ROUNDS = 3


def report(rows: int) -> bytes:
    """Return a users report in which each of 100 tags is often repeated."""
    lines = (
        f"{number},Person {number},person{number},p{number}@example.edu,active,a{number % 100}|b\n"
        for number in range(1, rows + 1)
    )
    return ("canvas_user_id,full_name,login_id,email,status,tags\n" + "".join(lines)).encode()


def mapped(change: Callable[[MappingOverride], object]) -> Model:
    """Return the model of users with a changed mapping."""
    mapping = MappingOverride("users")
    change(mapping)
    return mapping.applied(USERS)


def altered(mapping: MappingOverride) -> None:
    """Add an alteration that changes nothing."""
    mapping.link_column("tags").alter_rows(lambda row: row)


def main() -> None:
    """Load and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    content = report(rows)
    source = Source("", datetime(2026, 1, 1, tzinfo=UTC), "users")

    def load(table: Table) -> None:
        load_csv(table, lambda: io.BytesIO(content), source)

    def one_by_one(table: Table) -> None:
        load_row_by_row(table, lambda: io.BytesIO(content), source, lambda row, connection: None)

    cases: dict[str, tuple[Model, Callable[[Table], None]]] = {
        "no function": (mapped(lambda m: m.link_column("tags")), load),
        "transform of the value": (
            mapped(lambda m: m.link_column("tags", transform=lambda value: value.split("|"))),
            load,
        ),
        "transform of value and record": (
            mapped(lambda m: m.link_column("tags", transform=lambda value, record: value.split("|"))),
            load,
        ),
        "alteration": (mapped(altered), load),
        "row by row with a connection": (USERS, one_by_one),
    }
    with embedded_postgres() as url:
        wall, cpu = dict.fromkeys(cases, float("inf")), dict.fromkeys(cases, float("inf"))
        for _ in range(ROUNDS):
            for name, (model, work) in cases.items():
                with connect(url) as connection:
                    connection.execute("drop schema if exists canvas cascade")
                migrate(url, "canvas", [model])
                with connect(url) as connection:
                    start, began = time.perf_counter(), time.process_time()
                    work(Warehouse(connection, "canvas").table(model))
                    wall[name] = min(wall[name], time.perf_counter() - start)
                    cpu[name] = min(cpu[name], time.process_time() - began)
    print(f"µs per row, best of {ROUNDS} {'wall':>15} {'CPU of this process':>22}")
    for name in cases:
        plain = 0 if name.startswith(("no", "row")) else 1
        per_row = [(figures[name] - plain * figures["no function"]) / rows * 1e6 for figures in (wall, cpu)]
        print(f"{name:32} {per_row[0]:7.1f} {per_row[1]:22.1f}")


if __name__ == "__main__":
    main()
