"""The order of a sync: models, custom reports, and inserted steps, like the gem's chains.

A sync has two parts: the root run with everything that has no term, then a run for each term.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.extension_types import CustomReport, Insertion
from canvas_sync_dagster.tenants import Genre


@dataclass(frozen=True, slots=True)
class Chain:
    """The parts of a sync.

    Attributes:
        models: Name → model.
        reports: Name of the asset → custom report.
        insertions: Name → inserted step.
        tables: Name of a declared table → names of its dependencies.
    """

    models: Mapping[str, Model]
    reports: Mapping[str, CustomReport]
    insertions: Mapping[str, Insertion]
    tables: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.models, *self.reports, *self.insertions)

    def at(self, place: str) -> tuple[str, ...]:
        """Return the steps at the `start` or the `end` of a batch."""
        return tuple(name for name, step in self.insertions.items() if step.at == place)

    def is_per_term(self, name: str) -> bool:
        """Return whether a part runs once per term; a step does if one of its neighbours does."""
        if name in self.models:
            return self.models[name].term_scoped
        if name in self.reports:
            return self.reports[name].per_term
        return any(self.is_per_term(each) for each in self.insertions[name].neighbours)

    def before(self, name: str) -> tuple[str, ...]:
        """Return the names that the user has ordered before a part: its `deps` or `after`, and steps `before` it."""
        first = () if self.is_per_term(name) or name in (*self.at("start"), *self.at("end")) else self.at("start")
        return tuple(dict.fromkeys([*first, *self._before(name, frozenset({name}))]))

    def _before(self, name: str, seen: frozenset[str]) -> Iterator[str]:
        steps = self.insertions.values()
        own = self.tables.get(name, ())
        if name in self.reports:
            own = self.reports[name].deps
        elif name in self.insertions:
            own = self.insertions[name].after
        for each in own:
            yield each
            # A part that depends on another one also depends on the steps parallel to it.
            yield from (step.name for step in steps if each in step.beside and step.name not in seen)
        yield from (step.name for step in steps if name in step.before)
        if name in self.insertions:
            for each in self.insertions[name].beside:
                # The tables of one report are one op, so a step parallel to one of them does not run after the others.
                if each in self.models and isinstance(self.models[each].feed, RestFeed):
                    yield from self.models[each].parents
                if each not in seen:
                    yield from self._before(each, seen | {each})

    def of_genre(self, genre: Genre, there: Collection[str]) -> frozenset[str]:
        """Return the parts of a genre: its models and steps, and steps that are inserted next to its models.

        Args:
            genre: The genre, as declared in the settings.
            there: Names of all parts that the tenant syncs.
        """
        if "all" in genre.models:
            return frozenset(there)
        chosen = {*genre.models, *genre.steps} & set(there)
        for name, step in self.insertions.items():
            if step.at or chosen & set(step.neighbours):
                chosen.add(name)
        if any(self.is_per_term(name) for name in chosen):
            # The terms are the partitions.
            chosen.add("terms")
        return frozenset(chosen)

    def refuse_impossible(self) -> None:
        """Check the order that the user has requested.

        Raises:
            SettingError: A part depends on one that always runs later, or on itself.
        """
        last = self.at("end")
        for name, step in self.insertions.items():
            if named := [each for each in step.neighbours if each in last]:
                raise _after_the_end(name, named[0])
        for earlier, later in self._edges():
            if earlier in last:
                raise _after_the_end(later, earlier)
            if self.is_per_term(earlier) and not self.is_per_term(later):
                raise SettingError(
                    later,
                    f"it cannot come after {earlier}, which runs once for each term, when {later} has run already",
                    allowed="per_term=True, a place among what belongs to no term, or at='end' for after all terms",
                )

    def _edges(self) -> Iterator[tuple[str, str]]:
        for name in self.names:
            for earlier in self.before(name):
                yield earlier, name


def _after_the_end(name: str, end: str) -> SettingError:
    return SettingError(name, f"{end} runs at the end of the batch, alone", allowed="a place before it")


def refuse_cycles(before: Mapping[str, tuple[str, ...]]) -> None:
    """Check that the order has no cycle.

    Args:
        before: Name → names of its dependencies.

    Raises:
        SettingError: The order has a cycle.

    >>> refuse_cycles({"users": ("mine",), "mine": ("terms",)})
    """
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise SettingError(
            "the order of steps", f"goes in a circle: {circle}", allowed="an order with an end"
        ) from None
