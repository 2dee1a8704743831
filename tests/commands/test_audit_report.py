"""What `canvas-sync audit` prints: a verdict, a line per table, and differences without values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from rich.console import Console

from canvas_sync_dagster.audit.comparison import Cause, Difference, Kind
from canvas_sync_dagster.audit.estimate import Share
from canvas_sync_dagster.audit.result import ModelAudit
from canvas_sync_dagster.commands.audit_report import audit_lines

AT = datetime(2026, 10, 5, 12, tzinfo=UTC)
CLEAN = ModelAudit("users", AT, 400, 1, rows=900, compared=400, wrong=Share(0.0, 0.0, 0.0119), objects_reason="none")
WRONG = ModelAudit(
    "enrollments",
    AT,
    400,
    1,
    compared=400,
    lists=300,
    looked_up=9_000,
    wrong=Share(0.005, 0.001, 0.02),
    missing=Share(0.01, 0.008, 0.012),
    differences=(
        Difference({"canvas_id": 7}, Kind.DIFFERS, Cause.DRIFT, ("role",), found={"role": "secret"}),
        Difference({"canvas_id": 8}, Kind.MISSING_HERE, Cause.LAG, (), datetime(2026, 10, 5, 11, tzinfo=UTC)),
    ),
    repaired=2,
)


def printed(*audits: ModelAudit, width: int) -> str:
    screen = Console(width=width, record=True, file=None, highlight=False)
    with screen.capture() as capture:
        for each in audit_lines("uni", audits, width):
            screen.print(each)
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_verdict_comes_first_and_lines_fit(width: int) -> None:
    text = printed(CLEAN, WRONG, width=width)
    assert text.startswith("uni: 1 difference in enrollments; ")
    assert all(len(line) <= width for line in text.splitlines())
    assert "1.00 % (0.80 to 1.20)" in text
    assert "enrollments: canvas_id 7: differs in role (drift)" in text
    assert "secret" not in text


def test_columns_that_fit_are_shown() -> None:
    text = printed(CLEAN, WRONG, width=200)
    assert "lag p50 / p95" in text
    assert "role 1" in text
    assert "2 rows read again from Canvas and written" in text


def test_a_true_copy_and_an_audit_of_nothing() -> None:
    assert printed(CLEAN, width=80).startswith(
        "uni: no drift found; 400 rows compared and 0 objects of Canvas looked up"
    )
    nothing = ModelAudit("users", AT, 400, 1, rows_reason="never", objects_reason="never")
    assert printed(nothing, width=80).strip() == "uni: nothing was compared"
