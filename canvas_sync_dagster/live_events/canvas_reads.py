"""Read from Canvas what a batch of live events needs: bounded in number and in time, each object at most once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.live_events.decisions import parent_ids
from canvas_sync_dagster.live_events.event_plan import Key, ObjectEvents, Outcome, Read, Values, key_of
from canvas_sync_dagster.live_events.table_facts import existing_ids
from canvas_sync_dagster.sync.object_requests import Answer, Verdict, ask, can_ask
from canvas_sync_dagster.sync.session import Session

READS_AT_ONCE = 200
"""Objects that are read per model and transaction: about twenty seconds; the others are postponed."""
GENERATIONS = 4
"""Generations of missing parents that are read for one row: enrollment, section, course, account."""


UNANSWERED = frozenset({Verdict.POSTPONED, Verdict.UNASKED})
"""Verdicts that are no answer of Canvas. With what another event contains, the object may be read after all."""


@dataclass(slots=True)
class Parents:
    """Parents that the tables lack.

    Attributes:
        found: Model with what Canvas answered of its objects; parents come before their children.
        unread: Model → ids of direct parents that there was no time for.
    """

    found: list[tuple[Model, list[Answer]]] = field(default_factory=list)
    unread: dict[str, set[int]] = field(default_factory=dict)


class CanvasReads:
    """Reads single objects from Canvas, and keeps the answers until the batch is done.

    A batch that the database refuses is applied in parts, which use the same answers.

    Args:
        session: The tenant's Canvas and database.
        until: Moment of `time.monotonic()` after which Canvas is not waited for.
    """

    def __init__(self, session: Session, until: float) -> None:
        self._session, self._until = session, until
        self._answers: dict[tuple[str, Key], Answer] = {}

    def objects(self, reads: Sequence[Read]) -> list[Answer]:
        """Read objects; those beyond `READS_AT_ONCE` of a model, or for which no time is left, are postponed.

        Returns:
            One answer per read, in the same order.

        Raises:
            CanvasError: Canvas does not answer, or does not accept the token.
        """
        rows: dict[str, list[Values]] = defaultdict(list)
        for read in reads:
            rows[read.object.model.name].append(read.row)
        models = {read.object.model.name: read.object.model for read in reads}
        answers = {name: iter(self._read(models[name], asked)) for name, asked in rows.items()}
        return [next(answers[read.object.model.name]) for read in reads]

    def askable_parents(self, objects: Sequence[ObjectEvents]) -> dict[str, set[int]]:
        """Return parent model → ids that the rows of objects refer to, the table lacks, and Canvas can be asked about."""
        models, rows = self._session.by_name, defaultdict[str, list[Values]](list)
        for each in objects:
            rows[each.model.name].append(each.values)
        wanted = _wanted(models, rows)
        missing = {
            name: ids - existing_ids(self._session, models[name], ids)
            for name, ids in wanted.items()
            if can_ask(self._session, models[name])
        }
        return {name: ids for name, ids in missing.items() if ids}

    def missing_parents(self, outcome: Outcome) -> Parents:
        """Read the parents that the tables lack for the rows of an outcome, and the parents of these parents.

        Raises:
            CanvasSyncError: Canvas or the database does not answer.
        """
        models, parents = self._session.by_name, Parents()
        seen: dict[str, set[int]] = defaultdict(set)
        rows = {name: [change.values for change in changes] for name, changes in outcome.by_model().items()}
        for generation in range(GENERATIONS):
            wanted = _wanted(models, rows)
            rows = {}
            for name, ids in wanted.items():
                answers = self._read_missing(models[name], ids - seen[name])
                seen[name] |= ids
                found = [answer for answer in answers if answer.verdict is Verdict.FOUND]
                if generation == 0:
                    parents.unread[name] = _postponed(models[name], answers)
                if found:
                    rows[name] = [answer.content for answer in found]
                    parents.found.append((models[name], found))
        order = {name: at for at, name in enumerate(models)}
        # Of one model, such as accounts, the last generation comes first.
        parents.found.reverse()
        parents.found.sort(key=lambda each: order[each[0].name])
        parents.unread = {name: ids for name, ids in parents.unread.items() if ids}
        return parents

    def _read_missing(self, model: Model, ids: Iterable[int]) -> list[Answer]:
        wanted = set(ids)
        if not wanted or not can_ask(self._session, model):
            return []
        missing = sorted(wanted - existing_ids(self._session, model, wanted))
        return self._read(model, [{model.key[0]: number} for number in missing])

    def _read(self, model: Model, rows: Sequence[Values]) -> list[Answer]:
        keys = [(model.name, key_of(model, row)) for row in rows]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._answers}
        asked = dict(list(new.items())[:READS_AT_ONCE])
        answers = ask(self._session, model, list(asked.values()), until=self._until) if asked else []
        fresh = dict(zip(asked, answers, strict=True))
        self._answers |= {key: each for key, each in fresh.items() if each.verdict not in UNANSWERED}
        known = self._answers | fresh
        return [known.get(key, Answer(row, Verdict.POSTPONED)) for key, row in zip(keys, rows, strict=True)]


def _wanted(models: Mapping[str, Model], rows: Mapping[str, Sequence[Values]]) -> dict[str, set[int]]:
    """Return parent model → ids that rows of several models refer to."""
    wanted: dict[str, set[int]] = defaultdict(set)
    for name, given in rows.items():
        for parent, ids in parent_ids(models[name], given, models).items():
            wanted[parent] |= ids
    return wanted


def _postponed(model: Model, answers: Iterable[Answer]) -> set[int]:
    return {int(answer.row[model.key[0]]) for answer in answers if answer.verdict is Verdict.POSTPONED}
