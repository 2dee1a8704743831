"""Faults of real Canvases, by name; each can be ordered, once or several times.

`Faults.add("truncated_download")` makes the next download end early. In hostile mode the recoverable ones happen
at random, by the seed: a correct client ends with correct tables all the same.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import polars as pl

REQUEST_FAULTS = {
    "throttled_403": "403 in plain text: Rate Limit Exceeded",
    "throttled_429": "429 with Retry-After: 1",
    "bad_gateway": "502 with a web page",
    "maintenance_page": "200 with a web page instead of JSON",
    "dropped_connection": "the connection ends in the middle of a response",
    "token_expired": "401: Invalid access token",
    "no_permission": "403: user not authorized to perform that action",
    "server_error": "500: an error occurred",
}
OBJECT_FAULTS = {
    "unauthorized_object": "401 for a single object: user not authorized to perform that action",
    "broken_object": "500 for a single object: an error occurred",
}
START_FAULTS = {
    "lost_answer": "the report is started, but the response is a 504",
    "unknown_report": "404 on starting",
}
STATUS_FAULTS = {
    "stuck_in_created": "the report never starts",
    "stuck_in_running": "the report never finishes",
    "root_report_stuck": "a report of the root account never finishes; those of sub-accounts do",
    "progress_falls_back": "99 % running, then 3 % compiling",
    "unknown_state": "an undocumented state, for a while",
    "without_attachment": "complete, and for one poll without its file",
    "report_error": "the report ends as error at 41 %",
    "report_error_id": "the report ends as error, with the number of an error report for the administrator",
    "report_aborted": "an admin aborts the report",
    "report_vanishes": "404 while it is waited for",
    "report_returns": "404 while it is waited for; later the index lists it as aborted",
}
DOWNLOAD_FAULTS = {
    "expired_url": "the storage refuses the URL with 403",
    "login_page": "a login page with status 200",
    "truncated_download": "the connection ends before the file does",
}
FILE_FAULTS = {
    "byte_order_mark": "the CSV starts with a byte order mark",
    "semicolons": "semicolons between the values",
    "reordered_columns": "the columns in reverse order",
    "missing_column": "the last column is not there",
    "unknown_column": "an additional, unknown column",
    "duplicate_column": "the second column's name comes again at the end",
    "spaced_header": "blanks instead of underscores in the header",
    "translated_header": "the header in Spanish",
    "header_only": "no rows",
    "short_row": "the second row lacks its last value",
    "long_row": "the second row has one value too many",
    "bad_number": "the key of the second row is not a number",
    "nul_byte": "the second row contains a NUL byte",
    "bad_utf8": "the second row is not UTF-8",
    "open_quote": "the second row opens a quote that is never closed",
    "duplicate_rows": "each row comes twice",
    "shuffled_rows": "the rows in any order",
    "sentence_for_rows": "one cell in place of all rows: nothing was found",
    "mostly_rubbish": "each row holds too few values",
    "volume_drop": "nine rows of ten are missing",
    "damaged_zip": "the ZIP ends early",
    "zip_for_one": "a ZIP instead of the usual single CSV",
    "csv_for_many": "a single CSV instead of the requested ZIP",
    "zip_lacks_table": "the ZIP lacks its first table",
    "hostile_names": "names in the ZIP that lead out of the directory",
    "empty_file": "an empty file",
}
FAULTS: Mapping[str, str] = MappingProxyType(
    REQUEST_FAULTS | OBJECT_FAULTS | START_FAULTS | STATUS_FAULTS | DOWNLOAD_FAULTS | FILE_FAULTS
)
"""All faults: name → what happens."""

HOSTILE = {
    "throttled_403": 0.03,
    "throttled_429": 0.01,
    "bad_gateway": 0.03,
    "dropped_connection": 0.02,
    "lost_answer": 0.15,
    "progress_falls_back": 0.3,
    "unknown_state": 0.1,
    "without_attachment": 0.3,
    "expired_url": 0.2,
    "login_page": 0.1,
    "truncated_download": 0.15,
    "byte_order_mark": 0.2,
    "reordered_columns": 0.1,
    "unknown_column": 0.1,
    "duplicate_rows": 0.1,
    "shuffled_rows": 0.1,
    "zip_for_one": 0.2,
    "hostile_names": 0.2,
}
"""Probabilities in hostile mode, per request or file, of the faults that a correct client survives."""


MILLION = 1_000_000
"""Resolution of the share of lost rows."""
MOST_IN_A_ROW = 2
"""Random faults of one kind in a row before one success: a client that tries three times gets through."""


class Faults:
    """Faults that were ordered, and in hostile mode random ones.

    Every fault has a separate random generator, so that the faults of reports do not depend on the number of polls.
    """

    def __init__(self, *, hostile: bool, seed: int) -> None:
        self._hostile = hostile
        self._dice = {name: random.Random(f"{seed}:{name}") for name in HOSTILE}
        self._in_a_row: Counter[tuple[str, ...]] = Counter()
        self._ordered: Counter[str] = Counter()
        self._at: dict[str, str] = {}
        self._seed = seed
        self.lost_share = 0.0
        self._lock = threading.Lock()
        self.happened: Counter[str] = Counter()

    def add(self, name: str, times: int = 1) -> None:
        """Order a fault.

        Args:
            name: One of `FAULTS`.
            times: How often it happens, at the next opportunities.

        Raises:
            KeyError: The fault is unknown.
        """
        if name not in FAULTS:
            raise KeyError(f"unknown fault {name!r}; the faults are {', '.join(FAULTS)}")
        with self._lock:
            self._ordered[name] += times

    def always(self, name: str, path: str) -> None:
        """Order a fault for every request to a path.

        Args:
            name: One of `REQUEST_FAULTS`.
            path: Path of the request, such as `/api/v1/courses/2003/outcome_results`.

        Raises:
            KeyError: The fault is unknown, or not one of a request.
        """
        if name not in REQUEST_FAULTS:
            raise KeyError(f"unknown fault of a request {name!r}; they are {', '.join(REQUEST_FAULTS)}")
        with self._lock:
            self._at[path] = name

    def lose_rows(self, share: float) -> None:
        """Leave out rows of every report from now on, without any sign of it.

        Args:
            share: Chance of each row, from 0 to 1; which rows, is decided by the seed and the content of the row.
        """
        self.lost_share = share

    def kept_rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a report that `lose_rows` leaves."""
        if not self.lost_share or frame.is_empty():
            return frame
        draw = frame.hash_rows(seed=random.Random(f"{self._seed}:lost").getrandbits(60)) % MILLION
        return frame.filter(draw >= self.lost_share * MILLION)

    def clear(self) -> None:
        """Cancel all orders."""
        self.lost_share = 0.0
        with self._lock:
            self._ordered.clear()
            self._at.clear()

    def of_request(self, path: str) -> str | None:
        """Return the fault that a request to a path meets, if any, and count it."""
        with self._lock:
            name = self._at.get(path)
            if name is not None:
                self.happened[name] += 1
        return name or self.one_of(tuple(REQUEST_FAULTS))

    def take(self, name: str) -> bool:
        """Return whether a fault happens now, and count it if it does."""
        return self.one_of((name,)) is not None

    def one_of(self, names: tuple[str, ...]) -> str | None:
        """Return which of several faults happens now, if any, and count it; ordered faults come before random ones."""
        with self._lock:
            name = next((each for each in names if self._ordered[each] > 0), None)
            if name is not None:
                self._ordered[name] -= 1
            else:
                name = self._by_itself(names)
            if name is not None:
                self.happened[name] += 1
            return name

    def _by_itself(self, names: tuple[str, ...]) -> str | None:
        if not self._hostile:
            return None
        found = next((each for each in names if each in HOSTILE and self._dice[each].random() < HOSTILE[each]), None)
        self._in_a_row[names] = self._in_a_row[names] + 1 if found else 0
        if self._in_a_row[names] <= MOST_IN_A_ROW:
            return found
        self._in_a_row[names] = 0
        return None
