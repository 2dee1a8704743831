"""`doctor`: three levels, remedies, exit codes."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.commands.checks import instance_findings
from canvas_sync_dagster.commands.checks.finding import Checked, Finding, Level, fail, failed, note, ok
from canvas_sync_dagster.commands.checks.instance import unmet_needs
from canvas_sync_dagster.commands.checks.settings import embedded_despite_url
from canvas_sync_dagster.commands.doctor import Examination, doctor_lines, exit_code
from canvas_sync_dagster.commands.location import Location
from canvas_sync_dagster.dagster_yaml import NEEDS, Need, instance_file, instance_settings
from canvas_sync_dagster.errors import CanvasUnauthorizedError, MisconfiguredError
from canvas_sync_dagster.simulator import REPORTS, SimulatedCanvas

WRONG = failed(MisconfiguredError("a setting is wrong"))
REFUSED = failed(CanvasUnauthorizedError("the token is not accepted"))


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CANVAS_SYNC_")]:
        monkeypatch.delenv(name)


def called(canvas: SimulatedCanvas, url: str, **variables: str) -> Result:
    given = {
        "CANVAS_SYNC_BASE_URL": canvas.base_url,
        "CANVAS_SYNC_TOKEN": canvas.token,
        "CANVAS_SYNC_DATABASE_URL": url,
        "DATASERVICES_JWK_URL": canvas.jwk_url,
    }
    return CliRunner().invoke(main, ["doctor"], env=given | variables)


def lines(result: Result, level: str) -> str:
    return "\n".join(line for line in result.output.splitlines() if line.startswith(f"  {level:<4}  "))


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([ok("fine"), note("http", "use https")], 0),
        ([ok("fine"), fail("clock", "set it")], 1),
        ([ok("fine"), REFUSED], 1),
        ([note("http", "use https"), WRONG], 2),
        ([WRONG, REFUSED], 1),
    ],
)
def test_the_exit_code_is_2_only_if_nothing_but_settings_is_wrong(found: list[Finding], code: int) -> None:
    assert exit_code(found) == code


def test_our_dagster_yaml_has_what_the_sync_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text(instance_file())
    assert list(instance_findings()) == [ok(f"{tmp_path / 'dagster.yaml'} has the settings that the sync needs")]


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.path)
def test_a_missing_setting_of_the_instance_is_a_note_with_the_value_to_set(need: Need) -> None:
    settings, *keys = instance_settings(), *need.path.split(".")
    parent = settings
    for key in keys[:-1]:
        parent = parent[key]
    wanted = parent.pop(keys[-1])
    (found,) = unmet_needs(Path("dagster.yaml"), settings)
    assert found.level is Level.NOTE
    assert found.message == f"dagster.yaml: {need.path} is not set: {need.otherwise}"
    assert yaml.safe_load(found.remedy.removeprefix("Set it to ")) == wanted


def test_a_failed_sync_that_dagster_would_repeat_is_a_note() -> None:
    settings = instance_settings()
    settings["run_retries"]["retry_on_asset_or_op_failure"] = True
    (found,) = unmet_needs(Path("dagster.yaml"), settings)
    assert "retry_on_asset_or_op_failure is true: a sync that failed for a reason is repeated" in found.message


def test_without_a_dagster_yaml_or_with_a_broken_one_doctor_names_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    (found,) = instance_findings()
    assert (found.level, "DAGSTER_HOME is not set" in found.message) == (Level.NOTE, True)
    (tmp_path / "dagster.yaml").write_text("concurrency: [")
    (found,) = instance_findings()
    assert (found.level, str(tmp_path / "dagster.yaml") in found.message) == (Level.FAIL, True)


def test_what_works_but_should_be_known_is_a_note_and_no_failure(migrated_url: str) -> None:
    canvas = SimulatedCanvas(reports=frozenset({"provisioning_csv", "rubrics_csv"}), now=datetime.now(UTC))
    with canvas.serve():
        done = called(
            canvas, migrated_url, DATASERVICES_JWK_URL="http://127.0.0.1:9/", CANVAS_SYNC_UNSIGNED_EVENTS="true"
        )
    assert done.exit_code == 0, done.output
    assert "accepts the token" in lines(done, "ok")
    assert "schema canvas has all tables, columns and indexes; last migrated " in lines(done, "ok")
    notes = lines(done, "note")
    for words in ("is not encrypted", "unsigned live events", "no keys of live events"):
        assert words in notes
    assert "submissions is read over REST, because this Canvas has no report" in lines(done, "ok")
    assert "a full walk of all tables that are read over REST takes about" in lines(done, "ok")
    assert lines(done, "FAIL") == ""


def test_sub_accounts_that_split_reports_must_exist_and_should_have_all_courses(migrated_url: str) -> None:
    with SimulatedCanvas().serve() as canvas:
        courses = called(canvas, migrated_url, CANVAS_SYNC_SPLIT_REPORTS="all")
        assert "split_reports: 2 reports per term; they cover the first" in lines(courses, "ok")
        account = pl.when(pl.col("id") == 2003).then(1).otherwise("account_id").alias("account_id")
        canvas.university.courses = canvas.university.courses.with_columns(account)
        outside = called(canvas, migrated_url, CANVAS_SYNC_SPLIT_REPORTS="2,3,4")
        assert "1 are in none of the sub-accounts (2003); no report lists them" in lines(outside, "note")
        unknown = called(canvas, migrated_url, CANVAS_SYNC_SPLIT_REPORTS="3,77")
        assert "Canvas lists no sub-account 77 below account 1" in lines(unknown, "FAIL")
        assert unknown.exit_code == 1


def test_clocks_apart_missing_tables_and_reports_asked_for_by_name_fail(database_url: str) -> None:
    with SimulatedCanvas(reports=frozenset(REPORTS) - {"rubrics_csv"}).serve() as canvas:
        (Path.cwd() / "canvas_sync.yaml").write_text("tenants: {canvas: {feeds: {rubrics: report}}}")
        done = called(canvas, database_url, CANVAS_SYNC_MODELS="users,rubrics")
    assert done.exit_code == 1
    failures = lines(done, "FAIL")
    assert "clocks of this host and of Canvas differ" in failures
    assert "no report rubrics_csv" in failures
    assert "schema canvas will be created" in lines(done, "ok")


def test_a_custom_report_that_canvas_does_not_offer_fails(migrated_url: str) -> None:
    Path("reports_of_school.py").write_text(
        "from canvas_sync_dagster import CanvasSync\n"
        "sync = CanvasSync.from_environment()\n"
        "@sync.report('course_scores_csv', per_term=True)\n"
        "def own_scores(report, context): ...\n"
    )
    with SimulatedCanvas(now=datetime.now(UTC)).serve() as canvas:
        variables = {
            "CANVAS_SYNC_BASE_URL": canvas.base_url,
            "CANVAS_SYNC_TOKEN": canvas.token,
            "CANVAS_SYNC_DATABASE_URL": migrated_url,
            "DATASERVICES_JWK_URL": canvas.jwk_url,
        }
        lacking = CliRunner().invoke(main, ["doctor", "-f", "reports_of_school.py", "--quiet"], env=variables)
        assert lacking.exit_code == 1, lacking.output
        assert "no report course_scores_csv, which" in lines(lacking, "FAIL")
        assert lines(lacking, "ok") == ""
        canvas.add_report("course_scores_csv", "a\n1\n")
        offered = CliRunner().invoke(main, ["doctor", "-f", "reports_of_school.py"], env=variables)
    assert "course_scores_csv" not in offered.output


def test_long_details_of_a_finding_are_shown_only_on_request() -> None:
    found = [Examination("school", [ok("the header is the assumed one", details="mappings: {users: {}}")])]

    def text(*, verbose: bool) -> str:
        return "\n".join(map(str, doctor_lines(found, None, verbose=verbose)))

    assert "mappings" not in text(verbose=False)
    assert "mappings: {users: {}}" in text(verbose=True)


def test_a_rejected_token_is_one_failure_and_a_missing_one_is_configuration(
    canvas: SimulatedCanvas, migrated_url: str
) -> None:
    refused = called(canvas, migrated_url, CANVAS_SYNC_TOKEN="revoked")
    assert refused.exit_code == 1
    assert len(lines(refused, "FAIL").splitlines()) == 1
    assert "revoked" not in refused.output
    assert called(canvas, migrated_url, CANVAS_SYNC_BASE_URL="").exit_code == 2


def test_an_embedded_database_despite_the_variable_of_another_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    project = CanvasSync(tenants=[{"slug": "north"}]).project()
    checked = Checked(Location(project), project.settings.tenants[0])
    assert list(embedded_despite_url(checked)) == []
    monkeypatch.setenv("CANVAS_SYNC_DATABASE_URL", "postgresql://db.test/lms")
    (found,) = embedded_despite_url(checked)
    assert (found.level, "north are in the embedded PostgreSQL" in found.message) == (Level.NOTE, True)
