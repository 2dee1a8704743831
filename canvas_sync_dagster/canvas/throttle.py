"""Share Canvas's leaky bucket with everyone who uses the token: adapt how many requests are in flight to what is left.

Canvas charges every request 50 units in advance and its real cost afterwards, refills 10 units per second, and refuses
requests when 600 units are spent. Each response reports what is left, with the advance charges of all other requests in
flight, of this client and of others. Clients do not know of each other. Each one increases its requests in flight by one
per round trip while plenty is left and halves them when little is left (AIMD, as TCP does), which converges to equal
shares without bursts.
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
"""Units left for other users of the token, such as a colleague's script. Below it, the requests in flight are halved."""
PLENTY = 200.0
"""Units above which another request is added. Four clients that add one at the same moment still leave what they need."""
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
        self._changed = threading.Condition()
        self._remaining = CAPACITY
        self._at = clock()
        self._in_flight = 0
        self._unreported = 0
        self._window = 1.0
        self._is_probing = True
        self._steady_until = 0
        self._ended = 0
        self._closed_until = 0.0

    @property
    def window(self) -> float:
        """Maximum number of this client's requests in flight; fractions count towards the next one."""
        return self._window

    def acquire(self) -> None:
        """Wait until another request fits into the bucket and into this client's share."""
        while True:
            with self._changed:
                # Every response may enlarge the window, and wakes the threads that wait for it.
                while self._in_flight and self._in_flight >= int(self._window):
                    self._changed.wait()
                wait = self._wait()
                if wait <= 0:
                    self._in_flight += 1
                    self._unreported += 1
                    return
            self._sleep(wait)

    def release(self, response: httpx.Response | None) -> None:
        """Record what a response reports; None if there was no response."""
        with self._changed:
            self._in_flight -= 1
            self._ended += 1
            if response is not None:
                self._record(response)
            self._unreported = min(self._unreported, self._in_flight)
            self._changed.notify_all()

    def _record(self, response: httpx.Response) -> None:
        remaining = _number(response.headers.get("X-Rate-Limit-Remaining"))
        throttled = is_throttled(response)
        if remaining is not None:
            self._remaining, self._at = min(remaining, CAPACITY), self._clock()
            # The charges of the other requests in flight are in the report.
            self._unreported = 0
        if throttled:
            self._closed_until = max(self._closed_until, self._clock() + self._pause(response))
        if throttled or (remaining is not None and remaining < RESERVE):
            self._shrink()
        elif remaining is None or remaining >= PLENTY:
            # While probing one per response, which doubles with each round trip; afterwards one per round trip.
            self._window = min(self._window + (1 if self._is_probing else 1 / self._window), CAPACITY / UP_FRONT)

    def _shrink(self) -> None:
        """Halve the window, at most once per round trip: the requests in flight still report the old window."""
        self._is_probing = False
        if self._ended >= self._steady_until:
            self._window = max(1.0, self._window / 2)
            self._steady_until = self._ended + self._in_flight + 1

    def _wait(self) -> float:
        now = self._clock()
        level = min(CAPACITY, self._remaining + REFILL * (now - self._at)) - UP_FRONT * self._unreported
        # A single request only needs room for itself; further ones leave the reserve to others.
        short = UP_FRONT + (RESERVE if self._in_flight else 0) - level
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
