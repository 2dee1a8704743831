"""Canvas's leaky bucket, as seen from outside, and how long to wait before the next request.

Canvas charges every request 50 units up front and its real cost afterwards, refills 10 units per second, and refuses
when 600 are spent. It tells what remains with each answer; between answers we count for ourselves.
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
"""Units of a full bucket; Canvas's default high-water mark."""
UP_FRONT = 50.0
"""Units that Canvas holds for each request in flight."""
REFILL = 10.0
"""Units that flow back per second."""
RESERVE = 100.0
"""Units left to others who use the same token, such as a colleague's script."""
LONGEST_WAIT = 60.0
"""Seconds; an empty bucket is full again after this."""
LONGEST_RETRY_AFTER = 300.0
"""Seconds that a Retry-After is believed."""


class Throttle:
    """Spends what a token may spend; shared by all threads of a client.

    Args:
        clock: Seconds that never go back.
        sleep: Waits for so many seconds.
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
        """Waits until the bucket has room for one request more."""
        while True:
            with self._lock:
                wait = self._wait()
                if wait <= 0:
                    self._in_flight += 1
                    return
            self._sleep(wait)

    def release(self, response: httpx.Response | None) -> None:
        """Takes note of what an answer says of the bucket."""
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
        # The answers that tell what remains count their own up-front charge; those still in flight do not show in it.
        needed = min(CAPACITY, RESERVE + UP_FRONT * self._in_flight) if self._in_flight else UP_FRONT
        short = needed - level
        return min(LONGEST_WAIT, max(self._closed_until - now, short / REFILL))

    def _pause(self, response: httpx.Response) -> float:
        told = retry_after(response)
        return told if told is not None else max(1.0, min(LONGEST_WAIT, (RESERVE - self._remaining) / REFILL))


def is_throttled(response: httpx.Response) -> bool:
    """Says whether an answer is a refusal for want of units: Canvas's 403 in plain text, or a 429 of what stands before it.

    The body decides: in real logs such answers had units left.
    """
    if response.status_code == 429:
        return True
    return response.status_code == 403 and "rate limit exceeded" in response.text[:1000].lower()


def retry_after(response: httpx.Response) -> float | None:
    """Returns the seconds that an answer asks to wait, whether it says them as a number or as a date."""
    said = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", said):
        return min(float(said), LONGEST_RETRY_AFTER)
    try:
        until, now = parsedate_to_datetime(said), canvas_date(response)
    except (ValueError, TypeError):
        return None
    return max(0.0, min((until - now).total_seconds(), LONGEST_RETRY_AFTER)) if now else None


def canvas_date(response: httpx.Response) -> datetime | None:
    """Returns the moment of an answer on Canvas's own clock."""
    try:
        return parsedate_to_datetime(response.headers.get("Date", ""))
    except (ValueError, TypeError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
