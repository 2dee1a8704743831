"""Digests tell records, mappings, and ways of hashing apart."""

from __future__ import annotations

import polars as pl
import pytest

from canvas_sync_dagster.catalogue import match_header
from canvas_sync_dagster.catalogue.built_in.people import users
from canvas_sync_dagster.warehouse.reading.digest import combined, digest, salt

HEADER = ["canvas_user_id", "user_id", "full_name"]
MATCH = match_header(
    HEADER, {"canvas_id": ("canvas_user_id",), "name": ("full_name",)}, required=["canvas_id"], where=""
)


def records(*texts: bytes) -> pl.Series:
    return pl.Series(texts, dtype=pl.Binary)


def test_a_digest_differs_by_record_and_by_seed() -> None:
    texts = records(b"", b"1,a", b"1,b", b"1,a ", b"\xff", *(b"x" * length for length in range(1, 300)))
    found = pl.concat([digest(texts, seed) for seed in (0, 1, 2**64 - 1)])
    assert found.dtype == pl.Int64
    assert found.n_unique() == 3 * len(texts)


def test_the_digest_of_several_records_differs_by_their_order_and_by_seed() -> None:
    assert combined([7], 1) == 7
    found = {combined(each, seed) for each in ([1, 2], [2, 1], [-1, -2], [1, 2, 2]) for seed in (0, 2**64 - 1)}
    assert len(found) == 8
    assert all(-(2**63) <= value < 2**63 for value in found)


def test_the_seed_tells_when_polars_hashes_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    before = salt(users, MATCH, None)
    assert salt(users, MATCH, None) == before
    assert salt(users, MATCH, "sis_user_id") != before
    hashed = pl.Series.hash
    monkeypatch.setattr(pl.Series, "hash", lambda series, seed: hashed(series, seed + 1))
    assert salt(users, MATCH, None) != before
