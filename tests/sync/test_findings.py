"""Findings of a load, from its outcome: what passes, what is counted, and what a person can do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from canvas_sync_dagster.catalogue import BUILT_IN, HeaderMatch
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync.findings import MEANINGS, REMEDIES, finding_names, findings_of, with_other_terms
from canvas_sync_dagster.sync.outcome import ModelOutcome
from canvas_sync_dagster.tenants import FINDINGS
from canvas_sync_dagster.warehouse.absence import Absence
from canvas_sync_dagster.warehouse.loading.counts import LoadCounts

MODELS = {model.name: model for model in BUILT_IN}
HEADER = HeaderMatch(("course_id", "name"), {"sis_id": 0, "name": 1}, (), (), ())
CLEAN = ModelOutcome(MODELS["courses"], LoadCounts(rows_in_report=8), 8, HEADER)
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "checks.md"


def failed(outcome: ModelOutcome) -> dict[str, str]:
    return {found.name: found.figure for found in findings_of(outcome) if not found.passed}


def test_a_clean_load_has_every_finding_and_none_failed() -> None:
    assert tuple(found.name for found in findings_of(CLEAN)) == FINDINGS
    assert failed(CLEAN) == {}
    assert not any(found.remedy for found in findings_of(CLEAN))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"header": replace(HEADER, unknown=("pronouns",))}, {"header_contract": "unknown: pronouns"}),
        ({"header": None}, {}),
        ({"absence": Absence(100, 30, "held")}, {"volume": "30 of 100 rows missing"}),
        ({"absence": Absence(100, 3)}, {}),
        ({"counts": LoadCounts(rows_in_report=8, rejected=2)}, {"rejects": "2 of 8 rows"}),
        ({"counts": LoadCounts(duplicates=1)}, {"duplicate_keys": "1 rows"}),
        ({"counts": LoadCounts(duplicates=1), "model": MODELS["users"]}, {}),
        ({"suspects": 1}, {"suspects": "1 of 8 rows of the table"}),
        ({"orphans": {"accounts": 0, "terms": 3}}, {"orphans": "3 without terms"}),
    ],
)
def test_each_finding(changes: dict[str, Any], expected: dict[str, str]) -> None:
    assert failed(replace(CLEAN, **changes)) == expected


def test_a_held_scope_stays_held_and_other_terms_are_named() -> None:
    (volume,) = (found for found in findings_of(CLEAN, "30 of 100 rows are missing") if not found.passed)
    assert (volume.name, volume.figure) == ("volume", "nothing to compare; held since the latest full sync")
    assert volume.values["held"] == "30 of 100 rows are missing"
    assert with_other_terms(findings_of(CLEAN), []) == findings_of(CLEAN)
    (volume,) = (found for found in with_other_terms(findings_of(CLEAN), ["116", "117"]) if not found.passed)
    assert volume.figure == "nothing to compare; held: 116, 117"


def test_a_list_over_rest_has_no_header() -> None:
    assert finding_names(MODELS["terms"]) == FINDINGS[1:]


def test_only_findings_can_block() -> None:
    def settings(value: object) -> Settings:
        return Settings.from_content(
            {"tenants": {"canvas": {"blocking_checks": value}}}, source=Path("canvas_sync.yaml")
        )

    assert settings(["volume", "rejects", "volume"]).tenants[0].blocking_checks == ("volume", "rejects")
    with pytest.raises(
        SettingError, match=r"blocking_checks.*unknown finding volumes.*header_contract, volume"
    ) as error:
        settings(["volumes"])
    assert "tenants.canvas" in str(error.value)


def test_the_documentation_explains_every_finding() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert set(MEANINGS) == set(REMEDIES) == set(FINDINGS)
    assert [name for name in FINDINGS if f"| `{name}` |" not in text] == []
