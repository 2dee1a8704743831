"""Columns that a model reads from headers which its latest report did not have: misspelled links, or renamed headers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from canvas_sync_dagster.catalogue import Model, ReportFeed, RestFeed, match_header
from canvas_sync_dagster.warehouse.state.observed_headers import read_header
from canvas_sync_dagster.warehouse.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class MissingHeaders:
    """What the latest report of a model lacked.

    Attributes:
        model: The model.
        columns: Columns that are read from headers which the report did not have.
        header: What it had.
    """

    model: Model
    columns: tuple[str, ...]
    header: tuple[str, ...]

    def __str__(self) -> str:
        wanted = ", ".join(f"{' or '.join(self.model[name].report)} (column {name})" for name in self.columns)
        return f"the latest report of {self.model.name} had no header {wanted}"


def read_missing_headers(warehouse: Warehouse, models: Iterable[Model]) -> list[MissingHeaders]:
    """Return what the latest reports lacked, by the mappings of now.

    Models whose report was not loaded yet are left out, and those whose header is assumed: of these `doctor` shows how the
    header differs.
    """
    found = []
    for model in models:
        header = None if _is_assumed(model) else read_header(warehouse, model.name)
        if header is None:
            continue
        wanted = {column.name: column.report for column in model.report_columns()}
        optional = {column.name for column in model.columns if column.optional}
        match = match_header(header, wanted, required=(), where=model.name, optional=optional)
        if match.missing:
            found.append(MissingHeaders(model, match.missing, header))
    return found


def _is_assumed(model: Model) -> bool:
    return isinstance(model.feed, RestFeed) or (isinstance(model.feed, ReportFeed) and model.feed.assumed_header)
