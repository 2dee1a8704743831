"""The declarations, and how headers are found."""

from __future__ import annotations

import doctest
import importlib
import json
import re
from pathlib import Path

import pytest

from canvas_sync_dagster.catalogue import BUILT_IN, ColumnType, ProvisioningFeed, match_header
from canvas_sync_dagster.catalogue.model import Column, Model, ReportFeed
from canvas_sync_dagster.errors import HeaderContractError

HEADERS = Path(__file__).parents[3] / "shared" / "facts" / "csv_headers.json"


def test_no_model_is_declared_twice_and_parents_come_first() -> None:
    seen: set[str] = set()
    for model in BUILT_IN:
        assert model.name not in seen
        assert set(model.parents) <= seen
        seen.add(model.name)


@pytest.mark.parametrize("model", BUILT_IN, ids=lambda model: model.name)
def test_every_column_has_a_meaning_that_points_to_keys_that_exist(model: Model) -> None:
    keys = {f"{each.name}.{name}" for each in BUILT_IN for name in each.key}
    for column in model.columns:
        assert column.comment.endswith((".", "…")), f"{model.name}.{column.name} has no meaning"
        assert set(re.findall(r"points? to (\w+\.\w+)", column.comment)) <= keys
    referenced = {name: parent.name for name, parent in model.references({each.name: each for each in BUILT_IN})}
    for name, parent in referenced.items():
        if not model[name].comment.startswith("Canvas id"):
            assert f"{parent}.canvas_id" in model[name].comment, f"{model.name}.{name} points to {parent}"


def test_a_declaration_that_contradicts_itself_is_refused() -> None:
    column = Column("a", ColumnType.TEXT)
    with pytest.raises(ValueError, match="twice"):
        Model("m", (column, column), ReportFeed("r"), key=("a",))
    with pytest.raises(ValueError, match="key"):
        Model("m", (column,), ReportFeed("r"), key=("b",))


@pytest.mark.skipif(not HEADERS.exists(), reason="the facts lie beside the checkout only where it was written")
def test_the_stock_reports_headers_are_understood() -> None:
    stock = json.loads(HEADERS.read_text())["provisioning_csv"]
    for model in BUILT_IN:
        if isinstance(model.feed, ProvisioningFeed) and model.feed.stock:
            wanted = {column.name: column.report for column in model.report_columns()}
            header = stock[model.feed.table]
            match = match_header(header, wanted, required=model.key, ignored=model.ignored, where=model.name)
            assert match.unknown == (), model.name
            only_proprietary = {"grading_standard_id"} | ({"canvas_id"} if model.name == "group_memberships" else set())
            assert set(match.missing) <= only_proprietary, model.name


def test_spelling_is_forgiven_and_the_first_of_two_columns_counts() -> None:
    wanted = {"canvas_id": ("submission_id",), "name": ("label", "name"), "gone": ("gone",)}
    match = match_header(["\ufeffName ", "Submission ID", "name", "odd"], wanted, required=["canvas_id"], where="x")
    assert match.positions == {"canvas_id": 1, "name": 0}
    assert (match.missing, match.unknown, match.duplicated) == (("gone",), ("odd",), ("name",))


def test_a_missing_key_is_reported_with_the_expected_and_the_actual_header() -> None:
    with pytest.raises(HeaderContractError, match=r"courses\.csv.*canvas_course_id.*id_de_curso"):
        wanted = {"canvas_id": ("canvas_course_id",), "name": ("long_name",)}
        match_header(["id_de_curso", "long_name"], wanted, required=["canvas_id"], where="courses.csv")


@pytest.mark.parametrize(
    "name",
    [
        "catalogue.headers",
        "full_sync_policy",
        "sync.report_request",
        "durations",
        "canvas.reports",
        "postgres_url",
        "printable",
        "sync.object_rows",
        "catalogue.overrides",
        "warehouse.absence",
    ],
)
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"canvas_sync_dagster.{name}"))
    assert result.attempted
    assert result.failed == 0
