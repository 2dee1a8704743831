"""Lists of the REST API that follow from a university: accounts, terms, roles, admins, outcomes, nicknames."""

from __future__ import annotations

from typing import Any

import polars as pl

from canvas_sync_dagster.simulator.report_tables.report_query import students
from canvas_sync_dagster.simulator.university.course_index import of_course
from canvas_sync_dagster.simulator.university.learning_outcomes import outcomes
from canvas_sync_dagster.simulator.university.sizes import ROOT_ACCOUNT
from canvas_sync_dagster.simulator.university.state import University


def accounts(u: University, where: pl.Expr) -> list[dict[str, Any]]:
    """Return the accounts that meet a condition; only accounts below the root have SIS fields."""
    return [
        {
            "id": row["id"],
            "name": row["name"],
            "workflow_state": row["state"],
            "parent_account_id": row["parent_id"],
            "root_account_id": None if row["id"] == ROOT_ACCOUNT else ROOT_ACCOUNT,
            "uuid": f"uuid-of-account-{row['id']}",
            "default_time_zone": "America/Denver",
            **({"sis_account_id": row["sis_id"], "integration_id": None} if row["id"] != ROOT_ACCOUNT else {}),
        }
        for row in u.accounts.filter(where).to_dicts()
    ]


def terms(u: University) -> list[dict[str, Any]]:
    """Return all terms, the deleted ones included, in Canvas's order."""
    # PostgreSQL, in which Canvas sorts, puts nulls first when it sorts downwards.
    rows = u.terms.sort("start_at", "end_at", "id", descending=[True, True, False], nulls_last=[False, False, True])
    return [
        {
            "id": row["id"],
            "name": row["name"],
            "start_at": row["start_at"].strftime("%Y-%m-%dT%H:%M:%SZ") if row["start_at"] else None,
            "end_at": row["end_at"].strftime("%Y-%m-%dT%H:%M:%SZ") if row["end_at"] else None,
            "workflow_state": row["state"],
            "grading_period_group_id": None,
            "created_at": "2020-01-01T07:00:00Z",
            "sis_term_id": row["sis_id"],
            "sis_import_id": None,
        }
        for row in rows.to_dicts()
    ]


def roles(u: University, account: int) -> list[dict[str, object]]:
    """Return the roles of one account: the root account has the built-in ones, every faculty one more."""
    if account == ROOT_ACCOUNT:
        kinds = ["StudentEnrollment", "TeacherEnrollment", "TaEnrollment", "DesignerEnrollment", "ObserverEnrollment"]
        found = [(number, kind, kind, "built_in") for number, kind in enumerate(kinds, 3)]
        found.append((1, "AccountAdmin", "AccountMembership", "built_in"))
    else:
        found = [(100 + account, f"Librarian of {account}", "AccountMembership", "active")]
    return [
        {
            "id": number,
            "role": label,
            "label": label,
            "base_role_type": base,
            "workflow_state": state,
            "permissions": {"read_reports": {"enabled": base == "AccountMembership", "locked": False}},
            "account": {"id": account},
        }
        for number, label, base, state in found
    ]


def admins(u: University, account: int) -> list[dict[str, object]]:
    """One admin per account; every ten days one account gets another."""
    turn = (u.days // 10 + account) // len(u.accounts)
    person = 1001 + (account * 3 + turn) % u.size.users
    return [
        {
            "id": account * 1000 + turn,
            "role": "AccountAdmin",
            "role_id": 1,
            "user": {"id": person, "name": f"Admin {account}", "login_id": f"u{person}@uni.test"},
            "workflow_state": "active",
        }
    ]


def outcome_links(u: University, account: int) -> list[dict[str, object]]:
    """Canvas lists the links, each of which holds its outcome."""
    return [{"url": f"/api/v1/outcomes/{each['id']}", "outcome": each} for each in outcomes(account)]


def outcome_results(u: University, course: int) -> list[dict[str, object]]:
    """One result per student of every third course."""
    if course % 3:
        return []
    rows = students(of_course(u, course)).unique("user_id", keep="first", maintain_order=True)
    return [
        {
            "id": int(row["id"]) + 600_000_000,
            "score": 3.0,
            "percent": 0.6,
            "mastery": False,
            "submitted_or_assessed_at": "2026-08-30T10:00:00Z",
            "links": {"user": str(row["user_id"]), "learning_outcome": "20", "alignment": f"assignment_{course * 16}"},
        }
        for row in rows.to_dicts()
    ]


def nicknames(u: University) -> list[dict[str, object]]:
    """What the token's user calls two courses."""
    rows = u.courses.head(2).select("id", "name").rows()
    return [{"course_id": number, "name": name, "nickname": f"my {number}"} for number, name in rows]
