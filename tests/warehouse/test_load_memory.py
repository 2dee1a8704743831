"""A load holds a bounded part of a report in memory, whatever its size, its order and its number of repeated keys."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg
import pytest
from psycopg import sql

from canvas_sync_dagster.catalogue.built_in.courses import group_memberships
from canvas_sync_dagster.catalogue.built_in.people import users
from canvas_sync_dagster.warehouse import key_comparison, listed_keys
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.key_comparison import compare_keys
from canvas_sync_dagster.warehouse.listed_keys import ListedKeys
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, Source, load_csv
from canvas_sync_dagster.warehouse.reading import key_ranges
from canvas_sync_dagster.warehouse.row_conditions import EVERY_ROW
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.warehouse import Warehouse

T0 = datetime(2026, 1, 1, tzinfo=UTC)
MOST_MEGABYTES = 400
LOAD_ONCE = Path(__file__).parents[2] / "benchmarks" / "load_once.py"
CONTENT = "select md5(string_agg(u::text, chr(10) order by canvas_id)) from (select {} from canvas.users) u"
COLUMNS = ", ".join(column.name for column in users.columns)


def write_logins(path: Path, logins: int, people: int) -> None:
    """Write a users report in the order of Canvas's pseudonyms: further logins of a person come far behind the first."""
    number = pl.col("number")
    first = number * people // logins
    user = pl.when(number.hash(1) % logins < people).then(first).otherwise(number.hash(2) % (first + 1))
    frame = pl.select(number=pl.int_range(logins)).with_columns(user=user + 100_000)
    frame.select(
        canvas_user_id="user",
        user_id=pl.when(number.hash(3) % 5 != 0).then(pl.format("S{}", number)),
        login_id=pl.format("login{}", number),
        full_name=pl.format("First{} Last{}", "user", "user"),
        sortable_name=pl.format("Last{}, First{}", "user", "user"),
        email=pl.format("user{}@school.example.edu", "user"),
        status=pl.lit("active"),
    ).write_csv(path)


def load_logins(url: str, path: Path, *, days: int) -> LoadCounts:
    source = Source("", T0 + timedelta(days=days), "provisioning_csv", days)
    with connect(url) as connection:
        table = Warehouse(connection, "canvas").table(users)
        return load_csv(table, lambda: path.open("rb"), source, prefer="user_id", batch_rows=100)


def content(url: str) -> object:
    with psycopg.connect(url) as connection:
        return connection.execute(CONTENT.format(COLUMNS).encode()).fetchone()


def test_logins_of_the_same_people_far_apart_load_alike_in_memory_and_by_ranges_on_disk(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, largest = tmp_path / "users.csv", list[int]()
    write_logins(path, 4_000, 3_000)
    migrate(database_url, "canvas", [users])
    whole, expected = load_logins(database_url, path, days=0), content(database_url)
    assert whole.duplicates > 500
    with psycopg.connect(database_url) as connection:
        connection.execute("truncate canvas.users")

    def sorted_(frame: pl.DataFrame, key: list[str]) -> object:
        largest.append(frame.height)
        return ranged(frame, key)

    ranged = key_ranges._sorted
    monkeypatch.setattr(key_ranges, "_sorted", sorted_)
    monkeypatch.setattr(key_ranges, "HELD", 20_000)
    by_ranges = load_logins(database_url, path, days=1)
    assert content(database_url) == expected
    assert by_ranges.as_dict() == whole.as_dict()
    assert max(largest) < 1_000
    again = load_logins(database_url, path, days=2)
    assert (again.unchanged, again.inserted, again.updated) == (whole.inserted, 0, 0)


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("at_once", [1, 7, 10_000])
def test_keys_of_two_columns_are_compared_range_by_range(
    database_url: str, at_once: int, in_order: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(1)
    pairs = list({(chance.randint(1, 20), chance.randint(1, 30)) for _ in range(200)})
    rows = "".join(f"{group},{user},accepted\n" for group, user in pairs)
    text = f"canvas_group_id,canvas_user_id,status\n{rows}".encode()
    migrate(database_url, "canvas", [group_memberships])
    read: list[int] = []
    read_keys = key_comparison._read_keys

    def counted(*given: object, live: sql.Composable) -> pl.DataFrame:
        found = read_keys(*given, live=live)  # type: ignore[arg-type]
        read.append(found.height)
        return found

    monkeypatch.setattr(key_comparison, "_read_keys", counted)
    monkeypatch.setattr(key_comparison, "KEYS_AT_ONCE", at_once)
    monkeypatch.setattr(listed_keys, "PACKED_ROWS", 20)
    with connect(database_url) as connection:
        table = Warehouse(connection, "canvas", {"group_memberships": group_memberships}).table(group_memberships)
        load_csv(table, lambda: io.BytesIO(text), Source("", T0, "provisioning_csv", 1))
        listed = pl.DataFrame(pairs[:-5], schema=dict.fromkeys(group_memberships.key, pl.Int64), orient="row")
        listed = listed.sort(group_memberships.key) if in_order else listed
        keys = ListedKeys(group_memberships, listed.iter_slices(9))
        assert keys.is_ordered == in_order
        difference = compare_keys(table, "", keys, among=EVERY_ROW, seen=EVERY_ROW)
    assert difference.expected == len(pairs)
    assert set(difference.gone.rows()) == set(pairs[-5:])
    # The rows of one group, at most thirty, are in one range.
    assert max(read) <= min(at_once, len(pairs)) + 60


@pytest.mark.soak
def test_the_memory_of_a_load_of_millions_of_logins_is_bounded(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    write_logins(path, 2_000_000, 1_700_000)
    migrate(database_url, "canvas", [users])
    command = [sys.executable, str(LOAD_ONCE), database_url, "canvas", str(path), "users"]
    for done in ("inserted", "unchanged"):
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert told[done] > 1_000_000
        assert told["peak_mb"] <= MOST_MEGABYTES
