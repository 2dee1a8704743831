"""Audit the tables of a tenant: plan, compare, repair if that is wanted, and store the result."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from canvas_sync_dagster.audit.comparison import Kind
from canvas_sync_dagster.audit.plan import ModelPlan, audited_models, plan_audit
from canvas_sync_dagster.audit.reading import Progress, audit_model
from canvas_sync_dagster.audit.result import ModelAudit
from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.object_requests import AT_ONCE, Verdict, ask, can_ask_about
from canvas_sync_dagster.sync.object_writes import apply_answers
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.loading.load import Source, load_rows
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.audits import Audits

SAMPLE = 400
"""Default number of rows and lists per model. If nothing is found among 400, the share is below 1.2 % (95 %)."""
PROBES = 3
"""Requests whose duration tells the current rate."""
STORED = 1_000
"""Differences of one model that are stored at most; a table with more of them needs a full sync, and no list."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of an audit.

    Attributes:
        requests: Number of requests.
        seconds: Duration at the current rate.
    """

    requests: int
    seconds: float

    def __str__(self) -> str:
        minutes = self.seconds / 60
        long = f"{minutes:,.0f} minutes" if minutes >= 2 else f"{max(1, round(self.seconds))} seconds"
        return f"up to {self.requests:,} requests, about {long} at the current rate"


def chosen_models(session: Session, names: Sequence[str]) -> tuple[Model, ...]:
    """Return the models to audit: those with these names, or all that an independent path exists for.

    Raises:
        SettingError: The tenant does not sync a model.
    """
    known = session.by_name
    for name in names:
        if name not in known:
            problem = f"tenant {session.tenant.slug} does not sync such a model"
            raise SettingError("model", problem, allowed=", ".join(known), value=name)
    return (
        tuple(known[name] for name in names)
        if names
        else audited_models(session.models, session.tenant, session.extensions)
    )


def plan_models(session: Session, models: Sequence[Model], sample: int, *, seed: int | None = None) -> list[ModelPlan]:
    """Draw the samples of some models. Nothing is requested from Canvas.

    Args:
        session: The tenant's database.
        models: The models.
        sample: Maximum number of rows, and of lists, per model.
        seed: Decides which; by default, every audit draws others.

    Raises:
        CanvasSyncError: The database does not answer, or a table is missing.
    """
    prepare_schema(session.database_url, session.schema, session.models, [model.name for model in models])
    covered = CoveredTerms(session.tenant, session.database_url, session.models, session.extensions.term_scope)
    seed = random.SystemRandom().getrandbits(31) if seed is None else seed
    return [plan_audit(session, covered, model, sample, seed) for model in models]


def cost_of(session: Session, plans: Sequence[ModelPlan]) -> Cost:
    """Return the cost of an audit; some requests measure the current rate.

    Raises:
        CanvasError: Canvas does not answer, or refuses the token.
    """
    requests = sum(plan.requests for plan in plans)
    began = time.monotonic()
    for _ in range(PROBES):
        session.canvas.get("/accounts/{account_id}")
    return Cost(requests, requests * (time.monotonic() - began) / PROBES / AT_ONCE)


def audit_plans(
    session: Session,
    plans: Sequence[ModelPlan],
    *,
    repair: bool = False,
    run_id: str = "",
    progress: Progress = lambda _: None,
    log: Callable[[str], None] = lambda _: None,
) -> Iterator[ModelAudit]:
    """Audit models, and store each result in `canvas_sync_audits`. A model is stored as a whole or not at all.

    Args:
        session: The tenant's Canvas and database.
        plans: The samples.
        repair: Whether the rows that differ are read again and written, under the ordering rule.
        run_id: Dagster's run.
        progress: Takes the number of requests that were sent since the last call.
        log: Takes a line about what is done.

    Yields:
        The audit of each model, once it is stored.

    Raises:
        CanvasError: Canvas does not answer, refuses the token, or throttles for too long; earlier models stay stored.
    """
    for plan in plans:
        if plan.reason:
            # Nothing is read, so that there is no result to store.
            yield audit_model(session, plan)
            continue
        with journaled(session, f"audit:{plan.model.name}", {"sample": plan.sample}, run_id) as job:
            audit = audit_model(session, plan, progress)
            if repair and audit.drifted:
                log(f"{plan.model.name}: {audit.drifted} rows are read again")
                audit = replace(audit, repaired=_repair(session, plan.model, audit))
            with session.warehouse("storing an audit") as warehouse:
                Audits(warehouse).write(_stored(audit))
                job.succeed(
                    warehouse, {"compared": audit.compared, "looked_up": audit.looked_up, "drift": audit.drifted}
                )
        yield audit


def _repair(session: Session, model: Model, audit: ModelAudit) -> int:
    """Read the rows that differ again, and write what Canvas answers unless the table has something newer.

    Returns:
        Number of rows that were written, or confirmed as Canvas has them.
    """
    asked = [each.found for each in audit.differences if can_ask_about(session, model, each.found)]
    answers = ask(session, model, asked)
    settled = {Verdict.FOUND, Verdict.GONE}
    # Canvas shows these in lists only; they were read a moment ago.
    listed = [
        each.found
        for each in audit.differences
        if each.kind is Kind.MISSING_HERE and not can_ask_about(session, model, each.found)
    ]
    with session.warehouse(f"repairing {model.name}") as warehouse:
        table = warehouse.table(model)
        apply_answers(table, answers, keep_rejects=True)
        if listed:
            source = Source("", audit.audited_at, f"audit of {model.name}", complete=False)
            load_rows(table, listed, source, keep_rejects=True)
    return sum(answer.verdict in settled for answer in answers) + len(listed)


def _stored(audit: ModelAudit) -> dict[str, Any]:
    """Return column → value of `canvas_sync_audits`."""
    values = audit.as_json()
    shares = {
        f"{name}_{end}": None if share is None else getattr(share, part)
        for name, share in (("wrong", audit.wrong), ("missing", audit.missing))
        for end, part in (("share", "value"), ("low", "low"), ("high", "high"))
    }
    dropped = {"wrong_share", "missing_share", "rows_not_compared_because", "objects_not_looked_up_because"}
    kept = {name: value for name, value in values.items() if name not in dropped}
    return {**kept, **shares, "differences": values["differences"][:STORED], "reason": audit.reason or None}
