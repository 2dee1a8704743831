"""Parameters of reports are sent as Canvas reads them, and those that the sync sets itself are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from canvas_sync_dagster.canvas.reports import comparable
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.catalogue.model import ProvisioningFeed
from canvas_sync_dagster.catalogue.overrides import MappingOverride
from canvas_sync_dagster.catalogue.parameters import TABLES, digest, encoded, form, merged, refuse_parameters
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.simulator.http_api.report_parameters import of_form

MODELS = {model.name: model for model in BUILT_IN}


@pytest.mark.parametrize(
    ("given", "pairs"),
    [
        ({"a": None, "b": [], "c": {}, "d": {"e": None}}, []),
        ({"a": True, "b": False, "c": 0, "d": Decimal("1.5"), "e": ""}, ["a=true", "b=false", "c=0", "d=1.5", "e="]),
        ({"a": [1, None, "x"]}, ["a[]=1", "a[]=x"]),
        ({"a": {"b": {"c": [True]}}}, ["a[b][c][]=true"]),
        ({"a": [{"x": 1, "y": 2}, {"x": 3}]}, ["a[][x]=1", "a[][y]=2", "a[][x]=3"]),
        ({"a": datetime(2026, 1, 2, 3, tzinfo=UTC)}, ["a=2026-01-02T03:00:00Z"]),
    ],
)
def test_each_kind_of_value_has_its_form_and_canvas_reads_it_back(given: dict[str, Any], pairs: list[str]) -> None:
    sent = form(encoded(given))
    assert [f"{name.removeprefix('parameters[').replace(']', '', 1)}={value}" for name, value in sent] == pairs
    assert of_form(sent) == encoded(given)
    assert comparable(of_form(sent)) == comparable(encoded(given))
    assert urlencode(sent).count("parameters%5B") == len(pairs)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"a[]": 1}, "a list or a mapping as its value"),
        ({"": 1}, "is empty"),
        ({"a": [[1]]}, "a is a list of lists"),
        ({"a": {"b": object()}}, "a.b is of type object"),
    ],
)
def test_a_value_without_a_form_is_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        encoded(given)


def test_what_differs_in_a_list_or_a_mapping_is_another_report() -> None:
    same = [{"a": ["1", "2"], "b": {"c": "1", "d": "2"}}, {"b": {"d": "2", "c": "1"}, "a": ["1", "2"]}]
    assert digest(same[0]) == digest(same[1]) != digest({**same[0], "a": ["2", "1"]})
    assert digest({}) == ""
    assert merged({"a": 1}, {"a": None, "b": False}) == {"b": False}


def test_the_tables_of_the_provisioning_report_are_all_known_as_switches() -> None:
    feeds = [model.feed for model in BUILT_IN if isinstance(model.feed, ProvisioningFeed)]
    assert {name for feed in feeds for name in (feed.table, *(each.table for each in feed.enrichments))} <= TABLES


@pytest.mark.parametrize(
    ("model", "given", "says"),
    [
        ("users", {"enrollment_term_id": 5}, "enrollment_term_id"),
        ("users", {"updated_after": "2026-01-01"}, "updated_after"),
        ("users", {"include_deleted": False}, "include_deleted"),
        ("users", {"courses": True}, "courses"),
        ("users", {"locale": "de"}, "locale"),
        ("terms", {"x": 1}, "over REST"),
        ("submissions", {"include_all_except": [[1]]}, "list of lists"),
    ],
)
def test_parameters_that_the_sync_sets_itself_are_refused(model: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        refuse_parameters(MODELS[model], given)
    with pytest.raises(SettingError, match=f"mapping of {model}.*{says}"):
        MappingOverride(model).params(given).applied(MODELS[model])
