"""Digests of report records: what is the same as last time is known before anything is parsed."""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import polars as pl
from xxhash import xxh3_64_intdigest

from canvas_sync_dagster.catalogue import HeaderMatch, Model

FORMAT = 1
"""Raised whenever parsing changes what a record becomes, so that every stored digest misses once."""


def salt(model: Model, match: HeaderMatch, prefer: str | None) -> int:
    """Derives a seed from all that decides what a record becomes, so that a changed mapping invalidates every digest."""
    columns = [(c.name, c.type.value, c.report, c.keeps_empty_text) for c in model.columns]
    identity = json.dumps([FORMAT, match.header, columns, model.key, prefer]).encode()
    return int(xxh3_64_intdigest(identity + b"".join(map(_code, model.functions))))


def _code(function: Callable[..., Any]) -> bytes:
    """Returns what changes when a function is rewritten: its compiled code, or its name where it has none."""
    code = getattr(function, "__code__", None)
    return marshal.dumps(code) if code is not None else repr(type(function)).encode()


def digest(records: Iterable[bytes], seed: int) -> pl.Series:
    """Digests each record's raw bytes into a bigint.

    xxh3 by the xxhash package, not Polars's own hash: that one may differ between versions and machines, and a digest
    lives in the table for years. It costs 0.08 s per million records, a tenth of an unchanged reload.
    """
    digests = list(map(xxh3_64_intdigest, records, repeat(seed)))
    return pl.Series(digests, dtype=pl.UInt64).reinterpret(signed=True)


def combined(digests: Sequence[int], seed: int) -> int:
    """Digests the digests of one key's records, in the order of the file, into a bigint."""
    if len(digests) == 1:
        return digests[0]
    text = b"".join(value.to_bytes(8, "big", signed=True) for value in digests)
    return int.from_bytes(xxh3_64_intdigest(text, seed).to_bytes(8, "big"), "big", signed=True)
