"""The metrics of several processes are added up, also those of processes that were killed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from canvas_sync_dagster.live_events.budget import Budget
from canvas_sync_dagster.live_events.health import InboxHealth
from canvas_sync_dagster.live_events.keys import KeySet
from canvas_sync_dagster.live_events.metrics import DIRECTORY, Metrics
from canvas_sync_dagster.warehouse.state.audits import StoredAudit

COUNTING = """
import sys
from canvas_sync_dagster.live_events.budget import Budget
from canvas_sync_dagster.live_events.keys import KeySet
from canvas_sync_dagster.live_events.metrics import Metrics

budget = Budget()
metrics = Metrics(budget, KeySet("http://127.0.0.1:9/"))
for _ in range(int(sys.argv[1])):
    metrics.count_answer("school", 200)
budget.closed["head"] += 2
metrics.refresh({"school": 5})
metrics.refresh({"school": 5})
print(metrics.text({}).decode())
sys.stdout.flush()
sys.stdin.read()
"""


def samples(text: str) -> dict[str, float]:
    found = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {each.name.removeprefix("canvas_sync_live_events_"): each.value for each in found}


def test_one_process_reports_its_own_numbers_and_the_inboxes() -> None:
    budget = Budget()
    metrics = Metrics(budget, KeySet("http://127.0.0.1:9/"))
    metrics.count_answer("school", 503)
    budget.closed["idle"] += 1
    metrics.refresh({"school": 3})
    found = samples(metrics.text({"school": InboxHealth(waiting=7, dead=2, oldest_seconds=1.5)}).decode())
    assert (found["total"], found["closed_total"], found["uncommitted"], found["connections"]) == (1, 1, 3, 0)
    assert (found["database_up"], found["waiting"], found["dead"], found["oldest_seconds"]) == (1, 7, 2, 1.5)


def test_the_latest_audit_of_each_table_is_reported() -> None:
    at = datetime(2026, 10, 5, tzinfo=UTC)
    clean = StoredAudit("users", at, 400, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.012, None, None, None, {}, None, None, None)
    wrong = replace(clean, model="courses", rows_that_differ=2, missing_here=1, wrong_share=0.005, lag_p95_seconds=60.0)
    metrics = Metrics(Budget(), KeySet("http://127.0.0.1:9/"))
    text = metrics.text({"school": InboxHealth(audits={"users": clean, "courses": wrong})}).decode()
    families = (
        family for family in text_string_to_metric_families(text) if family.name.startswith("canvas_sync_audit")
    )
    found = {
        (each.name.removeprefix("canvas_sync_audit_"), each.labels["model"]): each.value
        for family in families
        for each in family.samples
    }
    assert (found["drifted", "users"], found["drifted", "courses"]) == (0, 3)
    assert (found["wrong_ratio", "courses"], found["wrong_ratio_at_most", "users"]) == (0.005, 0.012)
    assert found["timestamp_seconds", "users"] == at.timestamp()
    # What was not measured is not 0.
    assert ("missing_ratio", "users") not in found
    assert ("lag_p95_seconds", "users") not in found


def test_counters_of_all_processes_are_kept_and_gauges_only_of_living_ones(tmp_path: Path) -> None:
    environment = {**os.environ, DIRECTORY: str(tmp_path)}

    def counting(number: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", COUNTING, str(number)]
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
        )

    with counting(3) as first:
        assert first.stdout
        first.stdout.readline()
        first.kill()
    with counting(4) as second:
        found = samples(second.communicate()[0])
    assert (found["total"], found["closed_total"]) == (7, 4)
    assert found["uncommitted"] == 5
