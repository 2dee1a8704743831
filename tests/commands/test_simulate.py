"""`canvas-sync simulate`: a simulated Canvas whose clock agrees with this host's, as `doctor` expects."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from canvas_sync_dagster.cli import main
from canvas_sync_dagster.clocks import SLACK
from canvas_sync_dagster.commands import simulate


def test_its_clock_is_that_of_this_host_and_a_term_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clocks: list[datetime] = []
    terms: list[dict[str, Any]] = []

    def look(_: float) -> None:
        headers = {"Authorization": "Bearer simulated~token"}
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/accounts/self/terms", headers=headers)
        clocks.append(parsedate_to_datetime(answer.headers["Date"]))
        terms.extend(answer.json()["enrollment_terms"])
        if len(clocks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(simulate, "time", SimpleNamespace(sleep=look))
    done = CliRunner().invoke(main, ["simulate", "--port", str(port)])
    assert done.exit_code == 0, done.output
    now = datetime.now(UTC)
    assert all(abs(now - clock) < SLACK for clock in clocks)
    begun = [each for each in terms if each["start_at"] and datetime.fromisoformat(each["start_at"]) < now]
    assert any(datetime.fromisoformat(each["end_at"]) > now + timedelta(days=60) for each in begun)
