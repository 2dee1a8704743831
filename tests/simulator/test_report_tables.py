"""Tables of the provisioning report: headers, formats of values, and which rows are listed."""

from __future__ import annotations

import re

import pytest

from canvas_sync_dagster.simulator import SimulatedCanvas, Size
from tests.simulator.conftest import recorded

REPORT = "provisioning_csv"
TABLES = ("users", "accounts", "terms", "courses", "sections", "enrollments", "groups", "group_categories",
          "group_membership", "xlist", "user_observers")  # fmt: skip
KINDS = {
    "empty": r"",
    "integer": r"\d+",
    "boolean": r"true|false",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)",
}


def kind_of(value: str | None) -> str:
    """Return what a value looks like.

    >>> kind_of("2024-01-10T00:00:00-05:00"), kind_of("7"), kind_of(None)
    ('time', 'integer', 'empty')
    """
    return next((kind for kind, form in KINDS.items() if re.fullmatch(form, value or "")), "text")


def rows(
    canvas: SimulatedCanvas, table: str, *, report: str = REPORT, deleted: bool = True
) -> list[dict[str, str | None]]:
    return canvas.table(report, table, include_deleted=deleted)[1]


@pytest.mark.parametrize("table", TABLES)
def test_headers_are_canvas_s(canvas: SimulatedCanvas, table: str) -> None:
    assert canvas.table(REPORT, table)[0] == recorded("facts/csv_headers.json")[REPORT][table]


def test_values_have_the_form_of_recorded_ones(canvas: SimulatedCanvas) -> None:
    for case in recorded("samples/report_rows.json"):
        header, simulated = canvas.table(REPORT, case["table"])
        for row in case.get("rows", case.get("rows_modern", [])):
            assert len(row) == len(header), case["id"]
            for column, value in zip(header, row, strict=True):
                seen = {kind_of(each[column]) for each in simulated}
                # A column that the simulator leaves empty has no form to compare; SIS ids may be of any form.
                if kind_of(value) in {"integer", "boolean", "time"} and seen - {"empty", "text"}:
                    assert kind_of(value) in seen, (case["id"], column, value)


def test_users_are_listed_once_per_login_and_not_at_all_without_one(canvas: SimulatedCanvas) -> None:
    users = [row["canvas_user_id"] for row in rows(canvas, "users")]
    assert len(users) > len(set(users))
    assert {str(number) for number in canvas.university.users.get_column("id")} > set(users)


def test_a_deleted_login_is_listed_only_with_a_sis_id_and_has_no_email(canvas: SimulatedCanvas) -> None:
    deleted = [row for row in rows(canvas, "users") if row["status"] == "deleted"]
    assert [(row["user_id"], row["email"]) for row in deleted] == [("GONE-1", None)]
    assert "deleted" not in {row["status"] for row in rows(canvas, "users", deleted=False)}
    assert "gone-2" in canvas.university.logins.get_column("unique_id").to_list()


def test_a_name_of_one_word_has_no_last_name(canvas: SimulatedCanvas) -> None:
    (plato,) = [row for row in rows(canvas, "users") if row["full_name"] == "Plato"]
    assert (plato["last_name"], plato["sortable_name"]) == (None, "Plato")


def test_observers_have_an_associated_user_or_none(canvas: SimulatedCanvas) -> None:
    observers = [row for row in rows(canvas, "enrollments") if row["base_role_type"] == "ObserverEnrollment"]
    assert {row["role"] for row in observers} == {"observer"}
    assert {None, "1002"} <= {row["canvas_associated_user_id"] for row in observers}


def test_states_have_the_names_of_reports(canvas: SimulatedCanvas) -> None:
    enrollments = {row["status"] for row in rows(canvas, "enrollments")}
    assert enrollments <= {"invited", "active", "concluded", "inactive", "deleted", "rejected"}
    assert {row["status"] for row in rows(canvas, "courses")} <= {"unpublished", "active", "concluded", "deleted"}
    (pending,) = [row for row in rows(canvas, "enrollments") if row["canvas_enrollment_id"] == "4000006"]
    assert pending["status"] == "invited"


def test_a_cross_listed_section_is_listed_under_its_current_course(canvas: SimulatedCanvas) -> None:
    (listed,) = [row for row in rows(canvas, "xlist") if row["canvas_section_id"] == "4007"]
    (section,) = [row for row in rows(canvas, "sections") if row["canvas_section_id"] == "4007"]
    assert section["canvas_course_id"] == listed["canvas_xlist_course_id"] == "2007"
    assert listed["canvas_nonxlist_course_id"] == "2003"


def test_the_default_term_has_neither_sis_id_nor_dates(canvas: SimulatedCanvas) -> None:
    (term,) = [row for row in rows(canvas, "terms") if row["name"] == "Default Term"]
    assert (term["term_id"], term["start_date"], term["end_date"], term["created_by_sis"]) == (
        None,
        None,
        None,
        "false",
    )


def test_concluded_and_deleted_courses_are_listed_only_with_the_deleted(canvas: SimulatedCanvas) -> None:
    default = {row["canvas_course_id"] for row in rows(canvas, "courses", deleted=False)}
    everything = {row["canvas_course_id"] for row in rows(canvas, "courses")}
    assert {"2009", "2011"} <= everything - default


def test_the_root_account_is_not_listed(canvas: SimulatedCanvas) -> None:
    listed = {row["canvas_account_id"]: row["canvas_parent_id"] for row in rows(canvas, "accounts")}
    assert "1" not in listed
    assert listed["4"] == "2"


def test_times_are_in_the_root_account_s_zone_with_its_summer_time(canvas: SimulatedCanvas) -> None:
    (term,) = [row for row in rows(canvas, "terms") if row["term_id"] == "2026FA"]
    assert (term["start_date"], term["end_date"]) == ("2026-08-24T00:00:00-06:00", "2026-12-18T00:00:00-07:00")


def test_a_column_of_a_known_proprietary_report_has_its_name(canvas: SimulatedCanvas) -> None:
    header, _ = canvas.table("proserv_student_submissions_csv", "proserv_student_submissions_csv")
    # Read from a public consumer of this report.
    assert header[:4] == ["canvas user id", "sis user id", "user name", "canvas course id"]
    assert {"submission id", "workflow state", "graded date", "post to sis", "grading period id"} <= set(header)


def test_a_share_of_all_rows_changes_at_once_and_is_what_an_increment_lists() -> None:
    one, other = (
        SimulatedCanvas(Size(users=400, courses=200, enrollments=2000, assignments_per_course=1)) for _ in "12"
    )
    before = {table: rows(one, table) for table in ("users", "courses", "sections", "enrollments")}
    assert one.change_rows(0.1) == other.change_rows(0.1)
    for table, old in before.items():
        new = rows(one, table)
        assert new == rows(other, table)
        different = sum(a != b for a, b in zip(old, new, strict=True)) / len(new)
        assert 0.03 < different < 0.2, table
    increment = one.university.enrollments.filter(updated_at=one.now).height
    assert 0.05 < increment / one.university.enrollments.height < 0.2
    again = rows(one, "courses")
    one.change_rows(0.1)
    assert rows(one, "courses") != again
    with pytest.raises(ValueError, match="between 0 and 1"):
        one.change_rows(1.5)
