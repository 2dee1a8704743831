"""Reads moments that PostgreSQL holds and Python's datetime does not: years after 9999, before 1, and infinity.

Tables keep such values as they are: they reach PostgreSQL as text. What is read into Python becomes the farthest moment
of the same side, so that comparisons are right and no query fails because of one cell.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.types import datetime as standard

FAR_FUTURE = datetime(9999, 12, 31, tzinfo=UTC)
FAR_PAST = datetime(1, 1, 2, tzinfo=UTC)
"""A day from the ends of Python's calendar, so that conversion to another zone cannot overflow."""
KINDS: dict[str, tuple[Any, Any]] = {
    "timestamptz": (standard.TimestamptzLoader, standard.TimestamptzBinaryLoader),
    "timestamp": (standard.TimestampLoader, standard.TimestampBinaryLoader),
    "date": (standard.DateLoader, standard.DateBinaryLoader),
}


def read_any_year(context: AdaptContext) -> None:
    """Make a connection read every moment that PostgreSQL holds."""
    for name, loaders in KINDS.items():
        for loader in loaders:
            context.adapters.register_loader(name, _tolerant(name, loader))


def _tolerant(name: str, base: Any) -> type[Loader]:
    past, future = _of_kind(name, FAR_PAST), _of_kind(name, FAR_FUTURE)

    class Tolerant(base):  # type: ignore[misc]
        def load(self, data: Buffer) -> Any:
            try:
                return super().load(data)
            except psycopg.DataError:
                # One cell must not fail a whole query.
                return past if _is_past(bytes(data), binary=self.format == psycopg.pq.Format.BINARY) else future

    return Tolerant


def _is_past(data: bytes, *, binary: bool) -> bool:
    # The binary forms count from the year 2000, signed; the texts end in BC, or are -infinity.
    return data[0] >= 0x80 if binary else data.startswith(b"-") or data.endswith(b"BC")


def _of_kind(name: str, moment: datetime) -> date:
    match name:
        case "timestamptz":
            return moment
        case "timestamp":
            return moment.replace(tzinfo=None)
        case _:
            return moment.date()
