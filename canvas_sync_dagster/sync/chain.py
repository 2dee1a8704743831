"""What runs in which order: models, reports of one's own, and steps inserted between them, as the gem's chains.

A sync has two parts: what belongs to no term runs first, in one run; then everything else, once for each term.
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
    """Everything that has a place in a sync.

    Attributes:
        models: By name.
        reports: Of the user's own, by the names of their assets.
        insertions: Steps of the user's own, by name.
        tables: Tables by declaration, with what comes before each.
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
        """Says whether something runs once for each term: a step does if any of its neighbours does."""
        if name in self.models:
            return self.models[name].term_scoped
        if name in self.reports:
            return self.reports[name].per_term
        return any(self.is_per_term(each) for each in self.insertions[name].neighbours)

    def before(self, name: str) -> tuple[str, ...]:
        """Names what the user has put before something: its own `deps` or `after`, and steps that are `before` it."""
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
            # What waits for something waits for what runs beside it, too.
            yield from (step.name for step in steps if each in step.beside and step.name not in seen)
        yield from (step.name for step in steps if name in step.before)
        if name in self.insertions:
            for each in self.insertions[name].beside:
                # The tables of one report are one op: beside one of them is not after the others.
                if each in self.models and isinstance(self.models[each].feed, RestFeed):
                    yield from self.models[each].parents
                if each not in seen:
                    yield from self._before(each, seen | {each})

    def of_genre(self, genre: Genre, there: Collection[str]) -> frozenset[str]:
        """Picks what belongs to a genre: its models and steps, and what is inserted beside them.

        Args:
            genre: As the settings declare it.
            there: What the tenant syncs.
        """
        if "all" in genre.models:
            return frozenset(there)
        chosen = {*genre.models, *genre.steps} & set(there)
        for name, step in self.insertions.items():
            if step.at or chosen & set(step.neighbours):
                chosen.add(name)
        if any(self.is_per_term(name) for name in chosen):
            # Without terms nobody knows the partitions.
            chosen.add("terms")
        return frozenset(chosen)

    def refuse_impossible(self) -> None:
        """Checks what the user has put where.

        Raises:
            SettingError: Something is to wait for what runs later in any case, or for itself.
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
    """Checks that nothing waits for itself.

    Args:
        before: Name → what comes before it.

    Raises:
        SettingError: Something does.

    >>> refuse_cycles({"users": ("mine",), "mine": ("terms",)})
    """
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise SettingError(
            "the order of steps", f"goes in a circle: {circle}", allowed="an order with an end"
        ) from None
