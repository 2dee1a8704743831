"""The header contract: the position of each column in a report, and the differences from the expected header.

Reports changed their columns many times and some institutions have custom reports, so columns are found by name, in
any order, and spelling is normalized (`canvas user id` is `canvas_user_id`). Only a missing key column is an error.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten

from canvas_sync_dagster.errors import HeaderContractError

SHOWN = 1000
"""Maximum characters of a header in a message; the longest header of Canvas has half as many."""


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """Positions of the wanted columns in an actual header.

    Attributes:
        header: The header as received, without byte order mark.
        positions: Wanted column → index in the header; missing columns are left out.
        missing: Wanted columns that the header lacks.
        unknown: Names in the header that are neither wanted nor expected.
        duplicated: Names that occur more than once in the header; the first occurrence counts.
    """

    header: tuple[str, ...]
    positions: Mapping[str, int]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    duplicated: tuple[str, ...]


def normalize(name: str) -> str:
    """Return the normalized spelling by which headers are compared.

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
    """Find the wanted columns in a header.

    Args:
        header: Names in the first record of the file.
        wanted: Column → spellings, the preferred one first.
        required: Columns without which rows cannot be loaded: the key.
        where: Name of the file for messages (`provisioning_csv users.csv of report 17`).
        ignored: Names that are expected but not wanted.
        optional: Columns that some kinds of the report omit; their absence is not reported.

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
    known = {normalize(spelling) for spellings in (*wanted.values(), ignored) for spelling in spellings}
    if lost := [column for column in required if column in missing]:
        expected = "; ".join(f"{column} as {' or '.join(wanted[column])}" for column in lost)
        raise HeaderContractError(
            f"{where}: no column for the key ({expected}). {_shown(clean, known)} "
            "Canvas may have renamed or translated it: map it with link_column, or set the token's user to English."
        )
    unknown = tuple(name for name in clean if normalize(name) not in known)
    missed = tuple(column for column in missing if column not in optional)
    return HeaderMatch(clean, positions, missed, unknown, tuple(duplicated))


def _shown(header: Sequence[str], known: Collection[str]) -> str:
    """Repeat a header for a message; a first line without any known name may be a student's row, and is not repeated."""
    if not any(normalize(name) in known for name in header):
        return f"None of the {len(header)} values in its first line is the name of a known column."
    return f"Its header is: {shorten(', '.join(header), SHOWN)}."
