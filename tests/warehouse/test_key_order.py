"""Records leave the reader in the order of their key, whatever the order of the file, and in bounded memory."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas_sync_dagster.catalogue.model import Column, ColumnType
from canvas_sync_dagster.warehouse.reading import key_ranges
from canvas_sync_dagster.warehouse.reading.frames import Layout
from canvas_sync_dagster.warehouse.reading.key_order import KeyOrder
from canvas_sync_dagster.warehouse.reading.key_ranges import by_key_range
from canvas_sync_dagster.warehouse.reading.keyed_blocks import LINE, RECORD, KeyedBlock, digested, keyed
from canvas_sync_dagster.warehouse.reading.records import read_blocks

ID, NAME = Column("id", ColumnType.BIGINT), Column("name", ColumnType.TEXT)
LAYOUT = Layout(2, ",", ((ID, 0), (NAME, 1)))


def blocks(rows: list[tuple[object, str]], size: int, key: tuple[Column, ...] = (ID,)) -> Iterator[KeyedBlock]:
    content = "".join(f"{number},{name}\n" for number, name in rows).encode()
    for block in read_blocks(io.BytesIO(content), first_line=1, width=2, size=size):
        yield keyed(digested(block, 1), LAYOUT, key)


def records(found: list[KeyedBlock]) -> list[bytes]:
    return [record for block in found for record in block.records]


numbers = st.integers(-5, 40) | st.sampled_from([2**63 - 1, -(2**63), "x", ""])


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(numbers, st.sampled_from(["a", "b", "c"])), max_size=40),
    size=st.sampled_from([1, 30, 1000]),
    held=st.sampled_from([0, 40, 1 << 20]),
    key=st.sampled_from([(ID,), (NAME,), (ID, NAME)]),
)
def test_every_record_comes_once_in_the_order_of_its_key(
    rows: list[tuple[object, str]], size: int, held: int, key: tuple[Column, ...]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_ranges, "HELD", held)
        patch.setattr(key_ranges, "BLOCK", 20)
        patch.setattr(key_ranges, "RANGES", 3)
        found = list(by_key_range(blocks(rows, size, key), [column.name for column in key]))
    frames = [block.frame for block in found]
    assert sorted(line for frame in frames for line in frame.get_column(LINE)) == list(range(1, len(rows) + 1))
    seen: set[tuple[object, ...]] = set()
    last: tuple[object, ...] | None = None
    for frame in frames:
        readable = [tuple(row) for row in frame.select([c.name for c in key]).drop_nulls().iter_rows()]
        assert readable == sorted(readable)
        assert not seen & set(readable)
        assert last is None or not readable or last < readable[0]
        seen |= set(readable)
        last = readable[-1] if readable else last
    # The records of one key keep the order of the file, which decides between them.
    for frame in frames:
        for _, group in frame.group_by([c.name for c in key]):
            assert group.get_column(LINE).is_sorted()


def test_a_file_that_does_not_fit_into_memory_waits_in_the_given_directory_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_ranges, "HELD", 20_000)
    chance = random.Random(7)
    rows = [(chance.randrange(10**6), "n" * 20) for _ in range(20_000)]
    largest = 0
    found = []
    for block in by_key_range(blocks(list(rows), 10_000), ["id"], tmp_path):
        largest = max(largest, int(block.frame.estimated_size()))
        found += block.frame.get_column("id").to_list()
    assert found == sorted(number for number, _ in rows)
    assert largest < 200_000
    assert list(tmp_path.iterdir()) == []


def test_blocks_in_order_stream_and_no_key_is_in_two_of_them() -> None:
    rows: list[tuple[object, str]] = [(1, "a"), (2, "a"), (2, "b"), (2, "c"), (3, "a"), ("x", "?"), (3, "b"), (4, "a")]
    order = KeyOrder([ID])
    found = list(order.arranged(blocks(rows, 1)))
    assert [block.records.to_list() for block in found] == [
        [b"1,a"],
        [b"2,a", b"2,b", b"2,c"],
        [b"3,a", b"x,?", b"3,b"],
        [b"4,a"],
    ]
    assert not order.is_broken


def test_the_first_block_decides_and_a_later_one_out_of_order_is_not_passed_on() -> None:
    unordered: list[tuple[object, str]] = [(2, "a"), (1, "a"), (3, "a")]
    order = KeyOrder([ID])
    assert records(list(order.arranged(blocks(unordered, 1000)))) == [b"1,a", b"2,a", b"3,a"]
    assert not order.is_broken
    order = KeyOrder([ID])
    late = list(order.arranged(blocks([(2, "a"), (3, "a"), (1, "a"), (4, "a")], 1)))
    assert order.is_broken
    assert b"1,a" not in records(late)
    order = KeyOrder([ID], after=7)
    assert list(order.arranged(blocks([(7, "a"), (8, "a")], 1000))) == []
    assert order.is_broken


def test_a_block_keeps_the_records_of_some_keys_and_those_without_one() -> None:
    (block,) = blocks([(1, "a"), ("", "b"), (2, "c"), (1, "d")], 1000)
    some = block.with_keys(pl.DataFrame({"id": [1]}), ["id"])
    assert sorted(some.frame.get_column(RECORD)) == [b",b", b"1,a", b"1,d"]
