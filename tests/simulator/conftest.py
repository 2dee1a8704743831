"""One simulated Canvas per module, asked with httpx: these tests use nothing of the product."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from canvas_sync_dagster.simulator import SimulatedCanvas

SHARED = Path(__file__).parents[3] / "shared"
"""Recorded answers of Canvas, which are not part of the repository."""


@pytest.fixture(scope="module")
def canvas() -> Iterator[SimulatedCanvas]:
    """A small simulated Canvas whose reports take no time."""
    with SimulatedCanvas(compile_seconds=0).serve() as serving:
        yield serving


@pytest.fixture(scope="module")
def api(canvas: SimulatedCanvas) -> Iterator[httpx.Client]:
    """A client of its API that sends the token."""
    headers = {"Authorization": f"Bearer {canvas.token}"}
    with httpx.Client(base_url=f"{canvas.base_url}/api/v1", headers=headers) as client:
        yield client


def recorded(name: str) -> Any:
    """Return a recorded answer; skip the test where there is none."""
    file = SHARED / name
    if not file.exists():
        pytest.skip(f"there is no {file}")
    return json.loads(file.read_text(encoding="utf-8"))


def finished(api: httpx.Client, path: str, number: int) -> dict[str, Any]:
    """Return the JSON of a report run once it has ended and its end is written."""
    for _ in range(400):
        body: dict[str, Any] = api.get(f"{path}/{number}").json()
        if body["status"] in {"complete", "error", "aborted"} and body["ended_at"]:
            return body
        time.sleep(0.01)
    raise AssertionError(f"the report has not ended: {body}")
