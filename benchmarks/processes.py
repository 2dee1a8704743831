"""CPU and memory of the processes of a deployment, read from /proc: each is known by the process that started it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS = 0.5
"""Seconds between two looks at memory, each of which takes 16 ms of CPU on a machine with 120 processes."""
RESET_PEAK = "5"
"""What the kernel reads from `clear_refs` to forget the peak of a process's memory."""


@dataclass(frozen=True, slots=True)
class ProcessTimes:
    """A process.

    Attributes:
        id: Its process id.
        parent: Process id of its parent.
        own: Its CPU seconds.
        ended: CPU seconds of its children that have ended.
    """

    id: int
    parent: int
    own: float
    ended: float


class Processes:
    """The processes below some first ones, by kind.

    Args:
        roots: Kind → process id of the first process of this kind.
        children: Kind of a root → kind of its descendants, where it differs: a code server starts run workers.
    """

    def __init__(self, roots: Mapping[str, int], children: Mapping[str, str] | None = None) -> None:
        self._roots, self._children = dict(roots), dict(children or {})

    def add(self, kind: str, process: int) -> None:
        """Watch another first process."""
        self._roots[kind] = process

    def remove(self, kind: str) -> None:
        """Forget a first process."""
        del self._roots[kind]

    def all(self) -> Iterator[tuple[str, ProcessTimes]]:
        """Yield each process that is alive, with its kind."""
        known = process_table()
        below: dict[int, list[ProcessTimes]] = defaultdict(list)
        for each in known.values():
            below[each.parent].append(each)
        for kind, root in self._roots.items():
            if root not in known:
                continue
            yield kind, known[root]
            waiting = list(below[root])
            while waiting:
                each = waiting.pop()
                yield self._children.get(kind, kind), each
                waiting += below[each.id]

    def cpu(self) -> dict[str, float]:
        """Return kind → CPU seconds so far, those of ended descendants included."""
        found: dict[str, float] = defaultdict(float)
        for kind, each in self.all():
            found[kind] += each.own
            found[self._children.get(kind, kind)] += each.ended
        return dict(found)


class MemoryWatch:
    """What the processes hold in memory while the body of a `with` block runs.

    Private pages are counted, and shared memory once per kind: PostgreSQL's buffers are not counted per backend.
    Pages that a fork still shares with its parent are counted in both, so that sums of preloaded run workers are too high.

    Args:
        processes: What is watched.
        also: Called after each look.
        leave_out: Kinds that are not counted in the total.

    Attributes:
        together: Kind → the highest sum of all processes of the kind at one time, in MB.
        largest: Kind → the highest peak of one process, in MB, with the files that it maps.
        total: The highest sum of all kinds at one time, in MB.
    """

    def __init__(
        self, processes: Processes, also: Callable[[], None] = lambda: None, *, leave_out: Collection[str] = ()
    ) -> None:
        self._processes, self._also, self._leave_out = processes, also, leave_out
        self.together: dict[str, float] = defaultdict(float)
        self.largest: dict[str, float] = defaultdict(float)
        self.total = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        for _, each in self._processes.all():
            with contextlib.suppress(OSError):
                Path(f"/proc/{each.id}/clear_refs").write_text(RESET_PEAK, encoding="ascii")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            self._look()
            self._also()

    def _look(self) -> None:
        private: dict[str, float] = defaultdict(float)
        shared: dict[str, float] = defaultdict(float)
        for kind, each in self._processes.all():
            with contextlib.suppress(OSError, KeyError):
                status = memory(each.id)
                private[kind] += status["RssAnon"]
                shared[kind] = max(shared[kind], status["RssShmem"])
                self.largest[kind] = max(self.largest[kind], status["VmHWM"])
        for kind, value in private.items():
            self.together[kind] = max(self.together[kind], value + shared[kind])
        counted = [private[kind] + shared[kind] for kind in private if kind not in self._leave_out]
        self.total = max(self.total, sum(counted))


def process_table() -> dict[int, ProcessTimes]:
    """Return all processes of this machine, by id."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            own, ended = (sum(map(int, fields[start : start + 2])) / TICKS_PER_SECOND for start in (11, 13))
            found[int(entry.name)] = ProcessTimes(int(entry.name), int(fields[1]), own, ended)
    return found


def memory(process: int) -> dict[str, float]:
    """Return the memory of a process in MB: `VmHWM` (its peak), `VmRSS`, `RssAnon`, `RssFile`, `RssShmem`.

    Raises:
        OSError: The process has ended.
    """
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(":") for line in lines if line.startswith(("VmHWM", "VmRSS", "Rss")))
    return {name: int(value.split()[0]) / 1024 for name, _, value in pairs}
