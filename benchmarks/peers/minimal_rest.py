"""A minimal REST extractor, as people write it: pages of lists, eight threads, COPY into a stage, an upsert.

It reads CANVAS_URL, CANVAS_TOKEN and DATABASE_URL, and fills the schema `canvas`. It reads everything each time, and
never deletes a row: Canvas's lists do not name what is gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import httpx
import psycopg
from psycopg import sql

THREADS = 8
STATES = ["active", "invited", "creation_pending", "inactive", "completed"]
TABLES = {
    "terms": {"id": "bigint", "name": "text", "sis_term_id": "text", "workflow_state": "text", "start_at": "timestamptz",
              "end_at": "timestamptz"},
    "users": {"id": "bigint", "name": "text", "sis_user_id": "text", "login_id": "text"},
    "courses": {"id": "bigint", "name": "text", "course_code": "text", "sis_course_id": "text", "account_id": "bigint",
                "enrollment_term_id": "bigint", "workflow_state": "text", "start_at": "timestamptz",
                "end_at": "timestamptz"},
    "sections": {"id": "bigint", "course_id": "bigint", "name": "text", "sis_section_id": "text",
                 "nonxlist_course_id": "bigint"},
    "enrollments": {"id": "bigint", "course_id": "bigint", "course_section_id": "bigint", "user_id": "bigint",
                    "type": "text", "role_id": "bigint", "enrollment_state": "text"},
    "assignments": {"id": "bigint", "course_id": "bigint", "name": "text", "description": "text",
                    "points_possible": "numeric", "due_at": "timestamptz", "workflow_state": "text"},
    "submissions": {"id": "bigint", "assignment_id": "bigint", "user_id": "bigint", "score": "numeric",
                    "submitted_at": "timestamptz", "graded_at": "timestamptz", "excused": "boolean",
                    "workflow_state": "text"},
}  # fmt: skip
"""Table → column → type; columns are the fields of the API."""


def read(client: httpx.Client, path: str, key: str | None = None, **query: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list, page by page."""
    url = f"{path}?{urlencode({'per_page': 100, **query}, doseq=True)}"
    while url:
        response = client.get(url).raise_for_status()
        yield from response.json()[key] if key else response.json()
        url = response.links.get("next", {}).get("url", "")


def write(connection: psycopg.Connection, table: str, rows: Iterable[dict[str, Any]]) -> None:
    """Insert or update rows by their id."""
    columns = TABLES[table]
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    kinds = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in columns.items()
    )
    updates = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns)
    target, stage = sql.Identifier("canvas", table), sql.Identifier(f"stage_{table}")
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(sql.SQL("create table if not exists {} ({}, primary key (id))").format(target, kinds))
        cursor.execute(sql.SQL("create temporary table {} ({}) on commit drop").format(stage, kinds))
        with cursor.copy(sql.SQL("copy {} ({}) from stdin").format(stage, names)) as copy:
            for row in rows:
                copy.write_row([row.get(name) for name in columns])
        cursor.execute(
            sql.SQL("insert into {} ({}) select distinct on (id) {} from {} on conflict (id) do update set {}").format(
                target, names, names, stage, updates
            )
        )


def main() -> None:
    """Read everything once."""
    headers = {"Authorization": f"Bearer {os.environ['CANVAS_TOKEN']}"}
    with (
        httpx.Client(base_url=f"{os.environ['CANVAS_URL']}/api/v1", headers=headers, timeout=60) as client,
        psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        connection.execute("create schema if not exists canvas")
        write(connection, "terms", read(client, "/accounts/self/terms", "enrollment_terms", workflow_state="all"))
        write(connection, "users", read(client, "/accounts/self/users"))
        courses = list(read(client, "/accounts/self/courses"))
        write(connection, "courses", courses)
        lists: dict[str, tuple[str, dict[str, Any]]] = {
            "sections": ("sections", {}),
            "enrollments": ("enrollments", {"state[]": STATES}),
            "assignments": ("assignments", {}),
            "submissions": ("students/submissions", {"student_ids[]": "all"}),
        }
        for table, (path, query) in lists.items():

            def of_course(course: dict[str, Any], path: str = path, query: Any = query) -> list[dict[str, Any]]:
                return list(read(client, f"/courses/{course['id']}/{path}", **query))

            write(connection, table, (row for rows in threads.map(of_course, courses) for row in rows))


if __name__ == "__main__":
    main()
