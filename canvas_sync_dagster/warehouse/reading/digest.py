"""Digests of report records: what is the same as last time is known before anything is parsed."""

from __future__ import annotations

import hashlib
import json
import marshal
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from canvas_sync_dagster.catalogue import HeaderMatch, Model

FORMAT = 1
"""Raised whenever parsing changes what a record becomes, so that every stored digest misses once."""


def salt(model: Model, match: HeaderMatch, prefer: str | None) -> int:
    """Derives a seed from all that decides what a record becomes, so that a changed mapping invalidates every digest."""
    columns = [(c.name, c.type.value, c.report, c.keeps_empty_text) for c in model.columns]
    identity = json.dumps([FORMAT, match.header, columns, model.key, prefer]).encode()
    return _number(identity + _hash_of_polars() + b"".join(map(_code, model.functions)))


def _hash_of_polars() -> bytes:
    """Returns what changes when Polars hashes in another way: its hashes of texts of all lengths that it tells apart."""
    texts = pl.Series([bytes(range(length)) for length in range(256)], dtype=pl.Binary)
    return repr(texts.hash(FORMAT).to_list()).encode()


def _code(function: Callable[..., Any]) -> bytes:
    """Returns what changes when a function is rewritten: its compiled code, or its name where it has none."""
    code = getattr(function, "__code__", None)
    return marshal.dumps(code) if code is not None else repr(type(function)).encode()


def digest(records: pl.Series, seed: int) -> pl.Series:
    """Digests each record's raw bytes into a bigint.

    Polars takes 0.015 s per million records; a hash called one by one takes 0.08 s, under Python's lock. Polars may hash
    in another way in another version: the salt tells, so that every stored digest misses once.
    """
    return records.hash(seed).reinterpret(signed=True)


def combined(digests: Sequence[int], seed: int) -> int:
    """Digests the digests of one key's records, in the order of the file, into a bigint."""
    if len(digests) == 1:
        return digests[0]
    text = b"".join(value.to_bytes(8, "big", signed=True) for value in (seed - (1 << 63), *digests))
    return _number(text) - (1 << 63)


def _number(text: bytes) -> int:
    """Digests bytes into 64 bits."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
