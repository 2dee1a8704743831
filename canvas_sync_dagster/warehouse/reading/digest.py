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
    """Return a seed that depends on everything that decides what a record becomes.

    A changed mapping therefore invalidates every stored digest.

    Args:
        model: Columns, key and functions of the mapping.
        match: How the header matched.
        prefer: Header that decides between records of one key.
    """
    columns = [(c.name, c.type.value, c.report, c.keeps_empty_text) for c in model.columns]
    identity = json.dumps([FORMAT, match.header, columns, model.key, prefer, *_protection(model)]).encode()
    return _number(identity + _hash_of_polars() + b"".join(map(_code, model.functions)))


def _protection(model: Model) -> list[tuple[str, str]]:
    """Return the hashed columns with the id of the key; excluded columns are not among those that a report fills."""
    return [(each.column.name, each.hash.id) for each in model.protected if each.hash is not None]


def _hash_of_polars() -> bytes:
    """Return the hashes of texts of all lengths that Polars distinguishes; they change when its algorithm does."""
    texts = pl.Series([bytes(range(length)) for length in range(256)], dtype=pl.Binary)
    return repr(texts.hash(FORMAT).to_list()).encode()


def _code(function: Callable[..., Any]) -> bytes:
    """Return what changes when a function is rewritten: its compiled code, or its name where it has none."""
    code = getattr(function, "__code__", None)
    return marshal.dumps(code) if code is not None else repr(type(function)).encode()


def digest(records: pl.Series, seed: int) -> pl.Series:
    """Digest each record's raw bytes into a bigint.

    Polars takes 0.015 s per million records; a hash called one by one takes 0.08 s, under Python's lock. Another version
    of Polars may hash in another way; the seed then differs, so that every stored digest misses once.

    Args:
        records: Bytes.
        seed: As `salt` returns it.
    """
    return records.hash(seed).reinterpret(signed=True)


def combined(digests: Sequence[int], seed: int) -> int:
    """Digest the digests of one key's records into a bigint.

    Args:
        digests: In the order of the file, at least one.
        seed: As `salt` returns it.
    """
    if len(digests) == 1:
        return digests[0]
    text = b"".join(value.to_bytes(8, "big", signed=True) for value in (seed - (1 << 63), *digests))
    return _number(text) - (1 << 63)


def _number(text: bytes) -> int:
    """Digest bytes into 64 bits."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
