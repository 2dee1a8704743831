"""Suspects: rows that complete reports no longer list. Each is verified with Canvas before it is marked as deleted."""

from __future__ import annotations

from dataclasses import dataclass

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.errors import FunctionError
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.object_requests import Verdict, ask, can_ask, path_columns
from canvas_sync_dagster.sync.object_writes import apply_answers
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.suspects import count_suspects, has_suspects, read_suspects

BATCH = 200
"""Suspects per transaction: some twenty seconds of requests, which is what a kill may cost."""
LIMIT = 2_000
"""Default number of suspects per model and call: Canvas answers about ten requests per second."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What Canvas answered about a model's suspects.

    Attributes:
        model: Name of the model.
        asked: Suspects that Canvas was asked about.
        deleted: Of them, those that Canvas no longer has; they are marked as deleted.
        alive: Those that exist; their rows are refreshed.
        forbidden: Those that the token may not see; they stay suspects.
        left: Suspects that are left.
        reason: Why Canvas was not asked; empty if it was.
    """

    model: str
    asked: int = 0
    deleted: int = 0
    alive: int = 0
    forbidden: int = 0
    left: int = 0
    reason: str = ""


def reconcile(session: Session, model: Model, *, limit: int = LIMIT, run_id: str = "") -> Reconciliation:
    """Ask Canvas about a model's suspects, and write what it answers.

    Raises:
        CanvasSyncError: Canvas or the database does not answer; what was written until then stays.
        FunctionError: A function of `sync.api` raised for a suspect; the other suspects are done.
    """
    prepare_schema(session.database_url, session.schema, session.models, [model.name], connections=session.connections)
    with session.warehouse(f"reading suspects of {model.name}") as warehouse:
        table = warehouse.table(model)
        if not has_suspects(table):
            return Reconciliation(model.name, reason="its table has no column missing_since")
        columns = path_columns(model)
        suspects = read_suspects(table, columns, limit)
    if not suspects:
        return Reconciliation(model.name)
    if not can_ask(session, model):
        return Reconciliation(model.name, left=len(suspects), reason="Canvas shows no single objects of it")
    deleted = alive = forbidden = left = 0
    broken: list[FunctionError] = []
    with journaled(session, f"reconcile:{model.name}", {"suspects": len(suspects)}, run_id) as job:
        for start in range(0, len(suspects), BATCH):
            answers = ask(session, model, suspects[start : start + BATCH])
            with session.warehouse(f"reconciling {model.name}") as warehouse:
                table = warehouse.table(model)
                applied = apply_answers(table, answers, keep_rejects=True)
                left = count_suspects(table)
            deleted += applied.deleted
            forbidden += applied.forbidden
            alive += sum(answer.verdict is Verdict.FOUND for answer in answers)
            broken += [answer.error for answer in answers if answer.error is not None]
        if broken:
            raise broken[0]
        found = Reconciliation(model.name, len(suspects), deleted, alive, forbidden, left)
        with session.warehouse("writing the journal") as warehouse:
            job.succeed(warehouse, {"deleted": deleted, "alive": alive, "forbidden": forbidden, "left": left})
    return found
