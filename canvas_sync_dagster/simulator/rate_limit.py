"""Canvas's leaky bucket: every request costs, the bucket leaks by the second, and a full one refuses."""

from __future__ import annotations

import threading
import time


class Bucket:
    """The bucket of one token, in real time. The defaults are Canvas's own.

    Args:
        high_water: Content from which requests are refused, in units of cost.
        maximum: What it can hold.
        outflow: What leaks, per second.
        up_front: What a request holds while it is being answered.
        cost: What a request has cost in the end; Canvas charges its seconds of CPU and database.
    """

    def __init__(
        self,
        *,
        high_water: float = 600,
        maximum: float = 800,
        outflow: float = 10,
        up_front: float = 50,
        cost: float = 0.5,
    ) -> None:
        self.cost = cost
        self._high_water, self._maximum, self._outflow, self._up_front = high_water, maximum, outflow, up_front
        self._count, self._at, self._lock = 0.0, time.monotonic(), threading.Lock()

    @property
    def remaining(self) -> float:
        """What Canvas tells as `X-Rate-Limit-Remaining`; may be negative."""
        with self._lock:
            return self._high_water - self._leaked()

    def enter(self) -> bool:
        """Reserves the cost of a request, or says that it is refused."""
        with self._lock:
            if self._leaked() >= self._high_water:
                return False
            self._count = min(self._maximum, self._count + self._up_front)
            return True

    def leave(self) -> None:
        """Takes the reserve back and charges what the request has cost."""
        with self._lock:
            self._count = max(0.0, self._leaked() - self._up_front + self.cost)

    def _leaked(self) -> float:
        now = time.monotonic()
        self._count = max(0.0, self._count - self._outflow * (now - self._at))
        self._at = now
        return self._count
