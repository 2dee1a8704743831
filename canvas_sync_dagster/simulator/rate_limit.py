"""Canvas's rate limit: a leaky bucket that every request fills, and that rejects requests while it is full."""

from __future__ import annotations

import threading
import time


class Bucket:
    """The bucket of one token, in real time, in units of cost. The defaults are those of Canvas.

    Args:
        high_water: Units of cost from which requests are refused.
        maximum: Units that it holds at most.
        outflow: Units that leak per second.
        up_front: Units that a request holds while it is being answered.
        cost: Units that a request costs; Canvas charges its seconds of CPU and database.
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
        """Value of `X-Rate-Limit-Remaining`, in units of cost; may be negative."""
        with self._lock:
            return self._high_water - self._leaked()

    def enter(self) -> bool:
        """Reserve the advance charge of a request; False if the request is refused."""
        with self._lock:
            if self._leaked() >= self._high_water:
                return False
            self._count = min(self._maximum, self._count + self._up_front)
            return True

    def leave(self) -> None:
        """Credit the advance charge back and charge the cost of the request."""
        with self._lock:
            self._count = max(0.0, self._leaked() - self._up_front + self.cost)

    def _leaked(self) -> float:
        now = time.monotonic()
        self._count = max(0.0, self._count - self._outflow * (now - self._at))
        self._at = now
        return self._count
