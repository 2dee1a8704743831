"""Damage CSV files as real ones are damaged; each way is one of `FAULTS`."""

from __future__ import annotations

from collections.abc import Callable, Collection

import polars as pl

SPANISH = {b"canvas_user_id": b"id_de_usuario_de_canvas", b"canvas_course_id": b"id_de_curso_de_canvas"}
"""Headers as older Canvases translated them."""

NOTHING_FOUND = b"No outcomes found"
"""The only cell of some reports that have no rows."""

ROWS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "shuffled_rows": lambda frame: frame.sample(fraction=1, shuffle=True, seed=frame.height),
    "duplicate_rows": lambda frame: pl.concat([frame, frame]),
    "volume_drop": lambda frame: frame.head(frame.height // 10),
    "header_only": lambda frame: frame.clear(),
    "reordered_columns": lambda frame: frame.select(frame.columns[::-1]),
    "missing_column": lambda frame: frame.drop(frame.columns[-1]),
    "unknown_column": lambda frame: frame.with_columns(pl.lit("?").alias("pronouns")),
}
"""What happens to a table before it is written, in this order."""

SECOND_ROW: dict[str, Callable[[bytes], bytes]] = {
    "short_row": lambda row: row.rpartition(b",")[0],
    "long_row": lambda row: row + b",1",
    "bad_number": lambda row: b"no" + row.replace(b",", b",no"),
    "nul_byte": lambda row: row.replace(b",", b"\0,", 1),
    "bad_utf8": lambda row: row.replace(b",", b"\xff,", 1),
    "open_quote": lambda row: row.replace(b",", b',"', 1),
}
"""What happens to the second row, once it is written."""

BYTES = (
    "duplicate_column",
    "spaced_header",
    "translated_header",
    *SECOND_ROW,
    "mostly_rubbish",
    "sentence_for_rows",
    "byte_order_mark",
)
"""What happens to a file once it is written."""


def damaged(content: bytes, faults: Collection[str]) -> bytes:
    """Return a CSV file with the named faults of `BYTES`."""
    header, _, rest = content.partition(b"\n")
    rows = records(rest)
    if "duplicate_column" in faults:
        header += b"," + header.split(b",")[1]
        rows = [row + b"," for row in rows]
    if "spaced_header" in faults:
        header = header.replace(b"_", b" ")
    if "translated_header" in faults:
        for english, spanish in SPANISH.items():
            header = header.replace(english, spanish)
    for fault, break_row in SECOND_ROW.items():
        if fault in faults and len(rows) > 1:
            rows[1] = break_row(rows[1])
    if "mostly_rubbish" in faults:
        rows = [row.rpartition(b",")[0] for row in rows]
    if "sentence_for_rows" in faults:
        rows = [NOTHING_FOUND]
    mark = b"\xef\xbb\xbf" if "byte_order_mark" in faults else b""
    return mark + b"".join(line + b"\n" for line in [header, *rows])


def records(content: bytes) -> list[bytes]:
    r"""Splits CSV into records: a line ends no record while a quote is open.

    >>> records(b'1,"a\nb"\n2,c\n')
    [b'1,"a\nb"', b'2,c']
    """
    found: list[bytes] = []
    open_quote = False
    for line in content.removesuffix(b"\n").split(b"\n") if content else []:
        if open_quote:
            found[-1] += b"\n" + line
        else:
            found.append(line)
        open_quote ^= line.count(b'"') % 2 == 1
    return found
