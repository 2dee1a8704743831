"""Three questions about a Canvas, answered in SQL: the examples of `canvas-sync psql --samples`, of the demo and of the docs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from canvas_sync_dagster.warehouse.connection import transaction


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the query that answers it.

    Attributes:
        text: The question.
        query: SQL with names of tables without a schema.
    """

    text: str
    query: str


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a statement.

    Attributes:
        headings: Names of the columns; empty if the statement returns no rows.
        rows: Values as text.
        status: PostgreSQL's command tag.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    status: str


QUESTIONS = (
    Question(
        "Which courses have the most active students?",
        """\
select c.name as course, count(distinct e.canvas_user_id) as students
from enrollments e
join courses c on c.canvas_id = e.canvas_course_id
where e.base_role_type = 'StudentEnrollment'
  and e.workflow_state = 'active'
group by c.canvas_id, c.name
order by students desc, course
limit 3""",
    ),
    Question(
        "How many submissions of each term wait for a grade?",
        """\
select t.name as term, count(s.submitted_at) as submitted,
  count(*) filter (where s.submitted_at is not null and s.graded_at is null)
    as waiting
from submissions s
join courses c on c.canvas_id = s.canvas_course_id
join terms t on t.canvas_id = c.canvas_term_id
group by t.canvas_id, t.name
order by waiting desc, term
limit 3""",
    ),
    Question(
        "Which courses have the highest average score?",
        """\
select c.name as course, round(avg(s.current_score), 1) as average,
  count(*) as students
from scores s
join enrollments e on e.canvas_id = s.canvas_enrollment_id
join courses c on c.canvas_id = e.canvas_course_id
where s.course_score and s.current_score is not null
  and e.workflow_state = 'active'
group by c.canvas_id, c.name
order by average desc, course
limit 3""",
    ),
)


def ask(url: str, schema: str, query: str, *, most: int | None = None, write: bool = False) -> Result:
    """Execute a statement in a transaction of its own.

    Args:
        url: Of the database.
        schema: Schema in which tables are found by their names.
        query: The statement.
        most: Maximum number of rows that are fetched.
        write: Whether the statement may change anything.

    Raises:
        CanvasSyncError: The database cannot be reached.
        psycopg.Error: PostgreSQL rejects the statement.
    """
    with transaction(url, "asking a question") as connection:
        connection.execute(sql.SQL("set local search_path to {}, public").format(sql.Identifier(schema)))
        if not write:
            connection.execute("set transaction read only")
        cursor = connection.execute(query.encode())
        if cursor.description is None:
            return Result((), (), cursor.statusmessage or "")
        rows = cursor.fetchall() if most is None else cursor.fetchmany(most)
        cells = [["" if value is None else str(value) for value in row] for row in rows]
        return Result([each.name for each in cursor.description], cells, cursor.statusmessage or "")
