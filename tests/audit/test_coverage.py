"""Audits of a simulated Canvas whose reports lose rows silently: the intervals contain the true shares."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import psycopg
import pytest

from canvas_sync_dagster.audit.run import audit_plans, chosen_models, plan_models
from canvas_sync_dagster.simulator import SimulatedCanvas, Size
from canvas_sync_dagster.sync.session import Session
from tests.fix_canvas import session_of
from tests.truth import expected, sync_structure

MODELS = ("users", "courses", "sections", "enrollments")
CAMPUS = Size(users=3_000, courses=300, enrollments=15_000, assignments_per_course=1)
SAMPLE = 20
SYNCS, AUDITS = 4, 25
"""Universities, each with other lost rows, and audits of each with other samples: 100 for each share."""


def true_shares(canvas: SimulatedCanvas, session: Session) -> dict[str, float]:
    """Return the share of Canvas's objects that each table lacks."""
    shares = {}
    with psycopg.connect(session.database_url) as connection:
        for model in MODELS:
            there = listed(canvas, model)
            query = f"select canvas_id from {session.schema}.{model}"
            here = {number for (number,) in connection.execute(query).fetchall()}
            shares[model] = len(there - here) / len(there)
    return shares


def listed(canvas: SimulatedCanvas, model: str) -> set[int]:
    """Return the ids of the objects that Canvas lists, and that reports contain."""
    if model == "users":
        return set(canvas.university.logins.filter(pl.col("state") != "deleted").get_column("user_id"))
    return {number for number, row in expected(canvas, model).items() if row["workflow_state"] != "deleted"}


@pytest.mark.soak
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.05])
def test_the_intervals_contain_the_true_shares_of_lost_rows(database_url: str, tmp_path: Path, share: float) -> None:
    hits, found, requests = dict.fromkeys(MODELS, 0), dict.fromkeys(MODELS, 0), 0
    for seed in range(SYNCS):
        with (
            SimulatedCanvas(CAMPUS, compile_seconds=0.01, seed=seed).serve() as canvas,
            session_of(canvas, database_url, tmp_path, schema=f"of_{seed}", term_scope="all") as session,
        ):
            canvas.faults.lose_rows(share)
            sync_structure(session)
            true = true_shares(canvas, session)
            for number in range(AUDITS):
                plans = plan_models(session, chosen_models(session, MODELS), SAMPLE, seed=1_000 * seed + number)
                for audit in audit_plans(session, plans):
                    assert audit.missing is not None
                    hits[audit.model] += audit.missing.low <= true[audit.model] <= audit.missing.high
                    found[audit.model] += audit.drifted
                    requests += audit.requests
    audits = SYNCS * AUDITS
    print(f"{share:.1%} lost: covered {hits} of {audits}; differences {found}; {requests // audits} requests per audit")
    assert min(hits.values()) >= 0.93 * audits
    if share == 0.0:
        # In a true copy nothing is found.
        assert found == dict.fromkeys(MODELS, 0)
