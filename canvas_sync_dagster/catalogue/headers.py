"""The header contract: which column of a report stands where, and what differs from what was expected.

Reports changed their columns many times and some institutions have reports of their own, so columns are found by
name, in any order, and spelling is forgiven (`canvas user id` is `canvas_user_id`). Only a missing key is fatal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten

from canvas_sync_dagster.errors import HeaderContractError

SHOWN = 1000
"""Characters of a header that a message repeats; the longest of Canvas's own has half of it."""


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """Where the wanted columns stand in an actual header.

    Attributes:
        header: The header as it came, cleaned of a byte order mark.
        positions: Wanted column → index in the header. What is missing is not in it.
        missing: Wanted columns that the header lacks.
        unknown: Names in the header that nobody wanted or expected.
        duplicated: Names that stand in the header more than once; the first one counts.
    """

    header: tuple[str, ...]
    positions: Mapping[str, int]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    duplicated: tuple[str, ...]


def normalize(name: str) -> str:
    """Folds a header to the spelling by which it is compared.

    >>> normalize("\\ufeffCanvas User ID ")
    'canvas_user_id'
    """
    return re.sub(r"[\s_\-]+", "_", name.lstrip("\ufeff").strip().lower())


def match_header(
    header: Sequence[str],
    wanted: Mapping[str, Sequence[str]],
    *,
    required: Sequence[str],
    where: str,
    ignored: Sequence[str] = (),
    optional: Collection[str] = (),
) -> HeaderMatch:
    """Finds the wanted columns in a header.

    Args:
        header: Names as they stand in the first record of the file.
        wanted: Column → spellings, the preferred one first.
        required: Columns without which nothing can be loaded: the key.
        where: What file this is, for messages (`provisioning_csv users.csv of report 17`).
        ignored: Names that nobody wants, and that are expected all the same.
        optional: Columns that not every kind of the report tells, so that nobody misses them.

    Raises:
        HeaderContractError: A required column is missing.
    """
    clean = tuple(name.lstrip("\ufeff").strip() for name in header)
    first_index: dict[str, int] = {}
    duplicated: list[str] = []
    for index, name in enumerate(clean):
        if first_index.setdefault(normalize(name), index) != index:
            duplicated.append(name)
    positions = {
        column: first_index[normalize(spelling)]
        for column, spellings in wanted.items()
        for spelling in spellings[::-1]
        if normalize(spelling) in first_index
    }
    missing = tuple(column for column in wanted if column not in positions)
    if lost := [column for column in required if column in missing]:
        expected = "; ".join(f"{column} as {' or '.join(wanted[column])}" for column in lost)
        raise HeaderContractError(
            f"{where}: no column for the key ({expected}). Its header is: {shorten(', '.join(clean), SHOWN) or '(empty)'}. "
            "Canvas may have renamed or translated it: map it with link_column, or set the token's user to English."
        )
    known = {normalize(spelling) for spellings in (*wanted.values(), ignored) for spelling in spellings}
    unknown = tuple(name for name in clean if normalize(name) not in known)
    missed = tuple(column for column in missing if column not in optional)
    return HeaderMatch(clean, positions, missed, unknown, tuple(duplicated))
