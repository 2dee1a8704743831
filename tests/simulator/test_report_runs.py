"""Account reports as Canvas documents them and as it was recorded: JSON, lifecycle, files."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import datetime
from typing import Any

import httpx
import pytest

from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.simulator.conftest import finished

PROVISIONING = "/accounts/self/reports/provisioning_csv"
REPORT_KEYS = {"id", "report", "status", "progress", "current_line", "created_at", "started_at", "ended_at", "file_url",
               "parameters"}  # fmt: skip
ATTACHMENT_KEYS = {
    "id", "uuid", "folder_id", "display_name", "filename", "workflow_state", "content-type", "url", "size", "created_at",
    "updated_at", "unlock_at", "locked", "hidden", "lock_at", "hidden_for_user", "thumbnail_url", "modified_at",
    "mime_class", "media_entry_id", "locked_for_user",
}  # fmt: skip
UTC_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def start(api: httpx.Client, path: str = PROVISIONING, **parameters: str) -> dict[str, Any]:
    answer = api.post(path, data={f"parameters[{name}]": value for name, value in parameters.items()})
    assert answer.status_code == 200
    return dict(answer.json())


def test_a_report_goes_from_created_to_complete_and_gets_its_file_in_the_end(api: httpx.Client) -> None:
    created = start(api, terms="1")
    assert set(created) == REPORT_KEYS
    assert (created["status"], created["progress"], created["report"]) == ("created", 0, "provisioning_csv")
    assert (created["started_at"], created["ended_at"], created["file_url"]) == (None, None, None)
    assert UTC_SECONDS.fullmatch(created["created_at"])
    body = finished(api, PROVISIONING, created["id"])
    assert set(body) == REPORT_KEYS | {"attachment"}
    assert (body["status"], body["progress"]) == ("complete", 100)
    assert datetime.fromisoformat(body["created_at"]) <= datetime.fromisoformat(body["started_at"])
    assert set(body["attachment"]) == ATTACHMENT_KEYS


def test_values_of_a_form_come_back_as_text_and_canvas_adds_its_own(api: httpx.Client) -> None:
    parameters = start(api, users="1", include_deleted="true")["parameters"]
    assert {"users": "1", "include_deleted": "true", "locale": "en"}.items() <= parameters.items()
    assert parameters["extra_text"] == "Term: All Terms; Include Deleted Objects; Reports: users "


def test_values_of_json_keep_their_types(api: httpx.Client) -> None:
    given = {"terms": True, "enrollment_term_id": 118}
    parameters = api.post(PROVISIONING, json={"parameters": given}).json()["parameters"]
    assert given.items() <= parameters.items()
    assert parameters["extra_text"].startswith("Term: Fall 2026; ")


def test_the_list_of_reports_is_sorted_by_title_and_holds_the_last_run(api: httpx.Client) -> None:
    last = start(api, terms="1")
    reports = api.get("/accounts/self/reports").json()
    assert [set(each) for each in reports] == [{"title", "report", "parameters", "last_run"}] * len(reports)
    assert [each["title"] for each in reports] == sorted(each["title"] for each in reports)
    (provisioning,) = [each for each in reports if each["report"] == "provisioning_csv"]
    assert provisioning["last_run"]["id"] == last["id"]


def test_the_index_lists_the_newest_run_first(api: httpx.Client) -> None:
    first, second = start(api, terms="1")["id"], start(api, terms="1")["id"]
    assert [each["id"] for each in api.get(PROVISIONING).json()][:2] == [second, first]


def test_one_table_is_a_csv_and_several_are_a_zip(canvas: SimulatedCanvas, api: httpx.Client) -> None:
    body = finished(api, PROVISIONING, start(api, terms="1")["id"])
    # The address works without a token, by a redirect to another host.
    first = httpx.get(body["attachment"]["url"])
    assert (first.status_code, canvas.base_url in first.headers["location"]) == (302, False)
    csv = httpx.get(first.headers["location"])
    assert csv.headers["content-type"].startswith("text/csv")
    assert (body["attachment"]["content-type"], body["attachment"]["size"]) == ("text/csv", len(csv.content))
    assert csv.text.splitlines()[0].split(",") == canvas.table("provisioning_csv", "terms")[0]
    body = finished(api, PROVISIONING, start(api, terms="1", accounts="true", courses="0")["id"])
    packed = httpx.get(body["attachment"]["url"], follow_redirects=True)
    assert packed.headers["content-type"] == body["attachment"]["content-type"] == "application/zip"
    assert set(zipfile.ZipFile(io.BytesIO(packed.content)).namelist()) == {"terms.csv", "accounts.csv"}


def test_file_url_is_a_web_page_that_ignores_the_token(api: httpx.Client) -> None:
    body = finished(api, PROVISIONING, start(api, terms="1")["id"])
    page = api.get(body["file_url"])
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert api.get(f"/files/{body['attachment']['id']}").json() == body["attachment"]


def test_a_long_report_is_made_in_parts_that_make_the_same_file(
    canvas: SimulatedCanvas, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the length of a part differs, so that the memory of the simulator does not depend on that of the report."""
    reports = {
        "provisioning_csv": {"users": "1", "enrollments": "1", "include_deleted": "1"},
        "proserv_student_submissions_csv": {"enrollment_term_id": "118"},
        "proserv_assignment_export_csv": {},
        "proserv_scores_csv": {},
    }
    made = []
    for rows in (1_000_000, 7):
        monkeypatch.setattr("canvas_sync_dagster.simulator.report_tables.table_parts.PART_ROWS", rows)
        for name, parameters in reports.items():
            path = f"/accounts/self/reports/{name}"
            body = finished(api, path, start(api, path, **parameters)["id"])
            made.append(httpx.get(body["attachment"]["url"], follow_redirects=True).content)
    whole, in_parts = made[: len(reports)], made[len(reports) :]
    assert [len(each.splitlines()) > 7 for each in whole] == [True] * len(reports)
    first, *others = ([_content(each) for each in files] for files in (whole, in_parts))
    assert others == [first]


def _content(file: bytes) -> dict[str, bytes]:
    if not file.startswith(b"PK"):
        return {"": file}
    archive = zipfile.ZipFile(io.BytesIO(file))
    return {name: archive.read(name) for name in archive.namelist()}


def test_csv_is_written_as_ruby_does(api: httpx.Client) -> None:
    body = finished(api, PROVISIONING, start(api, courses="1")["id"])
    content = httpx.get(body["attachment"]["url"], follow_redirects=True).content
    assert b"\r" not in content
    assert not content.startswith(b"\xef\xbb\xbf")
    header, first, *_ = content.decode().splitlines()
    assert '"' not in header
    # Nothing is written for null; quotes are doubled, and used only where they are needed.
    assert ",," in first
    assert re.search(r',"The ""New"" Criticism \d+",', content.decode())
    assert re.search(r",(true|false)\n", content.decode())


@pytest.mark.parametrize(
    ("account", "report", "parameters", "text"),
    [
        ("self", "provisioning_csv", {"terms": "0"}, "Failed, the report failed to generate a file. Please try again."),
        ("2", "rubrics_csv", {}, "This report can only be run on the root account."),
    ],
)
def test_a_report_that_fails_has_no_file_and_a_text(
    api: httpx.Client, account: str, report: str, parameters: dict[str, str], text: str
) -> None:
    path = f"/accounts/{account}/reports/{report}"
    body = finished(api, path, start(api, path, **parameters)["id"])
    assert set(body) == REPORT_KEYS
    assert (body["status"], body["progress"], body["file_url"]) == ("error", 100, None)
    assert body["parameters"]["extra_text"] == text


def test_even_the_text_false_turns_created_by_sis_on(api: httpx.Client) -> None:
    path = "/accounts/self/reports/provisioning_csv"
    body = finished(api, path, start(api, courses="1", created_by_sis="false")["id"])
    rows = httpx.get(body["attachment"]["url"], follow_redirects=True).text.splitlines()[1:]
    assert {row.rpartition(",")[2] for row in rows if row.endswith(("true", "false"))} == {"true"}


@pytest.mark.parametrize("term", ["118", "sis_term_id:2026FA", "90"])
def test_a_term_is_named_by_either_id_even_a_deleted_one(api: httpx.Client, term: str) -> None:
    assert start(api, courses="1", enrollment_term_id=term)["status"] == "created"


def test_an_unknown_term_is_a_bad_request(api: httpx.Client) -> None:
    answer = api.post(PROVISIONING, data={"parameters[courses]": "1", "parameters[enrollment_term_id]": "777"})
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid enrollment_term_id '777'"})


def test_only_a_running_report_can_be_aborted_and_a_deleted_one_is_missing(
    canvas: SimulatedCanvas, api: httpx.Client
) -> None:
    canvas.faults.add("stuck_in_created")
    waiting = start(api, terms="1")["id"]
    assert api.put(f"{PROVISIONING}/{waiting}/abort").status_code == 404
    assert api.delete(f"{PROVISIONING}/{waiting}").json()["id"] == waiting
    assert api.get(f"{PROVISIONING}/{waiting}").status_code == 404
    assert waiting not in [each["id"] for each in api.get(PROVISIONING).json()]
    canvas.faults.add("stuck_in_running")
    running = start(api, terms="1")["id"]
    assert api.get(f"{PROVISIONING}/{running}").json()["status"] == "running"
    aborted = api.put(f"{PROVISIONING}/{running}/abort").json()
    assert (aborted["status"], aborted["parameters"]["extra_text"]) == ("aborted", "Report has been aborted")


def test_a_report_is_found_only_under_its_own_name(api: httpx.Client) -> None:
    number = start(api, terms="1")["id"]
    assert api.get(f"/accounts/self/reports/rubrics_csv/{number}").status_code == 404
    assert api.post("/accounts/self/reports/no_such_csv").status_code == 404
