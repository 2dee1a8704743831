"""What is remembered of the headers of reports: columns that were added for them, and headers that were only assumed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from canvas_sync_dagster.warehouse.state.remembered import remember, remembered
from canvas_sync_dagster.warehouse.warehouse import Warehouse

ADDED, HEADER = "added columns of ", "header of "
"""First parts of the names under which they are remembered; the name of the model follows."""


def read_added(warehouse: Warehouse, model: str) -> dict[str, str]:
    """Return normalized header → column, of the columns that were added to a model's table."""
    found: dict[str, str] = json.loads(remembered(warehouse, f"{ADDED}{model}") or "{}")
    return found


def remember_added(warehouse: Warehouse, model: str, added: Mapping[str, str]) -> None:
    """Remember added columns."""
    remember(warehouse, f"{ADDED}{model}", json.dumps(added))


def read_header(warehouse: Warehouse, model: str) -> tuple[str, ...] | None:
    """Return the header that the report of a model had last; None if it was not observed."""
    text = remembered(warehouse, f"{HEADER}{model}")
    return None if text is None else tuple(json.loads(text))


def remember_header(warehouse: Warehouse, model: str, header: Sequence[str]) -> None:
    """Remember the header of a report."""
    if read_header(warehouse, model) != tuple(header):
        remember(warehouse, f"{HEADER}{model}", json.dumps(list(header)))
