"""Estimate Canvas's leaky bucket, and wait before requests accordingly.

Canvas charges every request 50 units in advance and its real cost afterwards, refills 10 units per second, and refuses
requests when 600 units are spent. Each response contains the remaining units; between responses this module estimates.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx

CAPACITY = 600.0
"""Units of a full bucket; Canvas's default limit."""
UP_FRONT = 50.0
"""Units that Canvas reserves for each request in progress."""
REFILL = 10.0
"""Units refilled per second."""
RESERVE = 100.0
"""Units left for other users of the token, such as a colleague's script."""
LONGEST_WAIT = 60.0
"""Seconds after which an empty bucket is full again."""
LONGEST_RETRY_AFTER = 300.0
"""Maximum seconds of a Retry-After header that are respected."""


class Throttle:
    """Throttle of one token, shared by all threads of a client.

    Args:
        clock: Function that returns monotonic seconds.
        sleep: Function that waits for a number of seconds.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._remaining = CAPACITY
        self._at = clock()
        self._in_flight = 0
        self._closed_until = 0.0

    def acquire(self) -> None:
        """Wait until the bucket has enough units for another request."""
        while True:
            with self._lock:
                wait = self._wait()
                if wait <= 0:
                    self._in_flight += 1
                    return
            self._sleep(wait)

    def release(self, response: httpx.Response | None) -> None:
        """Record the remaining units from a response; None if there was no response."""
        with self._lock:
            self._in_flight -= 1
            if response is None:
                return
            remaining = _number(response.headers.get("X-Rate-Limit-Remaining"))
            if remaining is not None:
                self._remaining, self._at = min(remaining, CAPACITY), self._clock()
            if is_throttled(response):
                self._closed_until = max(self._closed_until, self._clock() + self._pause(response))

    def _wait(self) -> float:
        now = self._clock()
        level = min(CAPACITY, self._remaining + REFILL * (now - self._at))
        # The remaining units in a response include its own advance charge, but not those of requests in progress.
        needed = min(CAPACITY, RESERVE + UP_FRONT * self._in_flight) if self._in_flight else UP_FRONT
        short = needed - level
        return min(LONGEST_WAIT, max(self._closed_until - now, short / REFILL))

    def _pause(self, response: httpx.Response) -> float:
        told = retry_after(response)
        return told if told is not None else max(1.0, min(LONGEST_WAIT, (RESERVE - self._remaining) / REFILL))


def is_throttled(response: httpx.Response) -> bool:
    """Return whether a response reports an exhausted rate limit: a 403 of Canvas, or a 429 of a proxy in front of it.

    The body decides, because in real logs such responses had units left.
    """
    if response.status_code == 429:
        return True
    return response.status_code == 403 and "rate limit exceeded" in response.text[:1000].lower()


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date; None without one."""
    said = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", said):
        return min(float(said), LONGEST_RETRY_AFTER)
    try:
        until, now = parsedate_to_datetime(said), canvas_date(response)
    except (ValueError, TypeError):
        return None
    return max(0.0, min((until - now).total_seconds(), LONGEST_RETRY_AFTER)) if now else None


def canvas_date(response: httpx.Response) -> datetime | None:
    """Return the `Date` of a response, which is the time by Canvas's clock; None if it is missing or invalid."""
    try:
        return parsedate_to_datetime(response.headers.get("Date", ""))
    except (ValueError, TypeError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
