"""The walk of docs/understand/architecture.md is the way that a cell takes: each station exists, and they follow in this order."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from functools import partial

from canvas_sync_dagster.catalogue.built_in.courses import courses
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.loading.load import Source, load_csv
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.walks import recorded, stations

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_walk_of_a_cell_is_the_way_that_a_load_takes(migrated_url: str) -> None:
    names = [f"warehouse.{name}" for name in stations("The loader: a cell of a CSV")]
    content = b"canvas_course_id,long_name\n1,one\n2,two\n"
    with connect(migrated_url) as connection:
        for day, text in enumerate((content, content.replace(b"two", b"other"))):
            source = Source("", T0 + timedelta(days=day), "provisioning_csv", 1)
            # A generator hands over when it yields, which is reported as a return.
            table, opener = Warehouse(connection, "canvas").table(courses), partial(io.BytesIO, text)
            with recorded(names, "return") as handed_over:
                counts = load_csv(table, opener, source)
    assert (counts.updated, counts.unchanged) == (1, 1)
    assert handed_over == names
