"""The tables of a university that follow from its people and courses: groups, course work, content, outcomes.

Each is computed from the university as it stands, so that it changes with it and costs nothing to keep. Headers of
reports that are not public are assumed: a table's own column names, with `canvas_` before its ids.
"""

from __future__ import annotations

import polars as pl

from canvas_sync_dagster.simulator.tables import Question, courses_asked, in_term, local
from canvas_sync_dagster.simulator.university import EPOCH, ROOT_ACCOUNT, University

NOTHING = pl.lit(None, pl.String)
MODULES_PER_COURSE = 3


def group_categories(u: University, q: Question) -> pl.DataFrame:
    """One set of groups in every fourth course; Canvas's report of them knows no `created_by_sis`."""
    return _courses_with_groups(u).select(
        canvas_group_category_id=pl.col("id") + 60_000,
        group_category_id=NOTHING,
        context_id="id",
        context_type=pl.lit("Course"),
        name=pl.format("Projects, {}", "course_code"),
        role=NOTHING,
        self_signup=NOTHING,
        group_limit=pl.lit(4),
        auto_leader=NOTHING,
        status=pl.lit("active"),
    )


def groups(u: University, q: Question) -> pl.DataFrame:
    """Two groups per set."""
    homes = _courses_with_groups(u)
    both = pl.concat([homes.with_columns(n=pl.lit(n)) for n in (0, 1)]).sort("id", "n")
    return both.select(
        canvas_group_id=pl.col("id") * 4 + pl.col("n"),
        group_id=pl.when(pl.col("sis_id").is_not_null()).then(pl.format("GRP-{}-{}", "id", "n")),
        canvas_group_category_id=pl.col("id") + 60_000,
        group_category_id=NOTHING,
        canvas_account_id=NOTHING,
        account_id=NOTHING,
        canvas_course_id="id",
        course_id="sis_id",
        name=pl.format("Team “{}”", "n"),
        status=pl.lit("available"),
        created_by_sis=pl.col("sis_id").is_not_null(),
        context_id="id",
        context_type=pl.lit("Course"),
        max_membership=pl.lit(4),
    )


def memberships(u: University) -> pl.DataFrame:
    """Everybody in a first section of a course with groups is in one of its groups."""
    homes = _courses_with_groups(u).select(course_id="id", course_sis="sis_id")
    people = (
        _students(u).join(homes, on="course_id").unique(["course_id", "user_id"], keep="first", maintain_order=True)
    )
    logins = _sis_ids(u)
    return (
        people.join(logins, on="user_id", how="left", maintain_order="left")
        .with_columns(n=pl.col("user_id") % 2)
        .select(
            id=pl.col("id") + 900_000_000,
            group_id=pl.col("course_id") * 4 + pl.col("n"),
            group_sis=pl.when(pl.col("course_sis").is_not_null()).then(pl.format("GRP-{}-{}", "course_id", "n")),
            user_id="user_id",
            user_sis="user_sis",
            state=pl.lit("accepted"),
        )
        .sort("id")
    )


def group_membership(u: University, q: Question) -> pl.DataFrame:
    """The stock report tells no id of a membership."""
    return memberships(u).select(
        canvas_group_id="group_id",
        group_id="group_sis",
        canvas_user_id="user_id",
        user_id="user_sis",
        status="state",
        created_by_sis=pl.col("group_sis").is_not_null(),
    )


def group_membership_with_ids(u: University, q: Question) -> pl.DataFrame:
    """The proprietary one does."""
    ids = memberships(u).select(canvas_group_membership_id="id")
    return pl.concat([ids, group_membership(u, q)], how="horizontal")


def user_observers(u: University, q: Question) -> pl.DataFrame:
    """Joins every login of who observes with every login of who is observed, so that pairs repeat."""
    live = u.logins.filter(pl.col("state") == "active").select("user_id", "sis_id")
    pairs = u.enrollments.filter(pl.col("associated_user_id").is_not_null() & (pl.col("state") != "deleted"))
    both = pairs.select("user_id", "associated_user_id").unique(maintain_order=True)
    return (
        both.join(live, on="user_id")
        .join(live.rename({"sis_id": "student_sis"}), left_on="associated_user_id", right_on="user_id")
        .sort("user_id", "associated_user_id", "sis_id", "student_sis")
        .select(
            canvas_observer_id="user_id",
            observer_id="sis_id",
            canvas_student_id="associated_user_id",
            student_id="student_sis",
            status=pl.lit("active"),
            created_by_sis=pl.lit(False),
        )
    )


def grading_period_groups(u: University, q: Question) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "canvas_grading_period_group_id": [11, 12],
            "title": ["Quarters, ordinary", "“Halves”"],
            "weighted": [True, False],
            "display_totals_for_all_grading_periods": [False, True],
            "workflow_state": ["active", "active"],
        }
    )


def grading_periods(u: University, q: Question) -> pl.DataFrame:
    days = [EPOCH.strftime("%Y-%m-%dT%H:%M:%S-06:00"), None]
    return pl.DataFrame(
        {
            "canvas_grading_period_id": [21, 22, 23],
            "title": ["Q1", "Q2", "First half"],
            "weight": [25.0, 75.5, None],
            "start_date": [days[0], days[0], days[1]],
            "end_date": [days[0], days[0], days[1]],
            "close_date": [days[0], days[1], days[1]],
            "canvas_grading_period_group_id": [11, 11, 12],
            "workflow_state": ["active", "deleted", "active"],
        }
    )


def assignment_groups(u: University, q: Question) -> pl.DataFrame:
    return q.recent(courses_asked(u, q)).select(
        canvas_assignment_group_id=pl.col("id") + 300_000,
        canvas_course_id="id",
        name=pl.lit("Homework, weekly"),
        rules=pl.lit("drop_lowest:1\n"),
        position=pl.lit(1),
        group_weight=pl.lit(12.5),
        workflow_state=pl.lit("available"),
        created_at=pl.lit("2026-08-01T08:00:00-06:00"),
        updated_at=local("updated_at"),
    )


def assignment_overrides(u: University, q: Question) -> pl.DataFrame:
    """One override for the first section of every third course, one for two students of it."""
    rows = _tasks(u, q).filter((pl.col("course_id") % 3 == 0) & (pl.col("id") % 16 == 0))
    both = pl.concat([rows.with_columns(n=pl.lit(n)) for n in (0, 1)]).sort("id", "n")
    for_section = pl.col("n") == 0
    return q.recent(both).select(
        canvas_assignment_override_id=pl.col("id") * 2 + pl.col("n"),
        canvas_assignment_id="id",
        canvas_group_id=NOTHING,
        canvas_course_id="course_id",
        canvas_section_id=pl.when(for_section).then(pl.col("course_id") * 2),
        student_ids=pl.when(~for_section).then(pl.lit("{1002,1003}")),
        due_at=local("due_at"),
        all_day=pl.lit(False),
        all_day_date=NOTHING,
        unlock_at=NOTHING,
        lock_at=NOTHING,
        title=pl.when(for_section).then(pl.lit("Section 0")).otherwise(pl.lit("2 students")),
        workflow_state=pl.lit("active"),
    )


def scores(u: University, q: Question) -> pl.DataFrame:
    rows = q.recent(in_term(u, q, _students(u)))
    return rows.select(
        canvas_score_id=pl.col("id") + 700_000_000,
        canvas_enrollment_id="id",
        canvas_grading_period_id=NOTHING,
        canvas_assignment_group_id=NOTHING,
        course_score=pl.lit(True),
        current_score=(u.chance("id", "current", 1000).cast(pl.Float64) / 10),
        final_score=(u.chance("id", "final", 1000).cast(pl.Float64) / 10),
        unposted_current_score=NOTHING,
        unposted_final_score=NOTHING,
        override_score=NOTHING,
        workflow_state=pl.lit("active"),
    )


def modules(u: University) -> pl.DataFrame:
    """Modules of all courses, as Canvas holds them."""
    frames = [u.courses.with_columns(n=pl.lit(n)) for n in range(MODULES_PER_COURSE)]
    return pl.concat(frames).select(
        id=pl.col("id") * 8 + pl.col("n"),
        course_id="id",
        term_id="term_id",
        position=pl.col("n") + 1,
        name=pl.format("Week {}: “start”", "n"),
        state=pl.when(pl.col("state") == "deleted").then(pl.lit("deleted")).otherwise(pl.lit("active")),
        updated_at="updated_at",
    ).sort("id")  # fmt: skip


def context_modules(u: University, q: Question) -> pl.DataFrame:
    return q.recent(_of_term(modules(u), q)).select(
        canvas_context_module_id="id",
        canvas_context_id="course_id",
        canvas_context_type=pl.lit("Course"),
        position="position",
        name="name",
        workflow_state="state",
        deleted_at=pl.when(pl.col("state") == "deleted").then(local("updated_at")),
        unlock_at=NOTHING,
        completion_requirements=pl.lit('---\n- :id: 1\n  :type: "must_view"\n'),
        prerequisites=pl.lit("--- []\n"),
    )


def context_module_items(u: University, q: Question) -> pl.DataFrame:
    return q.recent(_of_term(modules(u), q)).select(
        canvas_context_module_item_id=pl.col("id") * 2 + 1,
        canvas_context_module_id="id",
        position=pl.lit(1),
        canvas_content_id=pl.col("course_id") * 16,
        canvas_content_type=pl.lit("Assignment"),
        canvas_assignment_id=pl.col("course_id") * 16,
        workflow_state="state",
    )


def content_migrations(u: University, q: Question) -> pl.DataFrame:
    rows = q.recent(u.courses.filter(pl.col("id") % 5 == 0))
    return rows.select(
        canvas_content_migration_id=pl.col("id") + 40_000,
        canvas_context_id="id",
        canvas_context_type=pl.lit("Course"),
        workflow_state=pl.lit("imported"),
        migration_settings=pl.lit("---\n:migration_type: course_copy_importer\n"),
        started_at=pl.lit("2026-08-02T08:00:00-06:00"),
        finished_at=pl.lit("2026-08-02T08:01:30-06:00"),
        progress=pl.lit(100.0),
        canvas_source_course_id=pl.col("id") - 1,
        migration_type=pl.lit("course_copy_importer"),
        canvas_child_subscription_id=NOTHING,
        canvas_root_account_id=pl.lit(ROOT_ACCOUNT),
    )


def course_progresses(u: University, q: Question) -> pl.DataFrame:
    rows = in_term(u, q, _students(u)).unique(["course_id", "user_id"], keep="first", maintain_order=True)
    done = u.chance("id", "progress", MODULES_PER_COURSE + 1).cast(pl.Int64)
    return q.recent(rows).select(
        canvas_course_id="course_id",
        canvas_user_id="user_id",
        requirement_count=pl.lit(MODULES_PER_COURSE),
        requirement_completed_count=done,
        completion_date=pl.when(done == MODULES_PER_COURSE).then(pl.lit("2026-08-30T10:00:00-06:00")),
    )


def rubrics(u: University, q: Question) -> pl.DataFrame:
    rows = u.courses.filter(pl.col("id") % 6 == 0)
    truths = dict.fromkeys(
        ("reusable", "public", "read_only", "free_form_criterion_comments", "hide_score_total", "hide_points"),
        pl.lit(False),
    )
    return q.recent(rows).select(
        canvas_rubric_id=pl.col("id") + 50_000,
        canvas_user_id=pl.lit(1002),
        canvas_context_id="id",
        canvas_context_type=pl.lit("Course"),
        data=pl.lit('---\n- :description: "Clarity, mostly"\n  :points: 5.0\n'),
        points_possible=pl.lit(5.0),
        title=pl.format("Rubric of {}", "course_code"),
        description=NOTHING,
        association_count=pl.lit(1),
        context_code=pl.format("course_{}", "id"),
        migration_id=NOTHING,
        workflow_state=pl.lit("active"),
        canvas_root_account_id=pl.lit(ROOT_ACCOUNT),
        rating_order=pl.lit("descending"),
        button_display=pl.lit("numeric"),
        **truths,
    )


def rubric_associations(u: University, q: Question) -> pl.DataFrame:
    rows = u.courses.filter(pl.col("id") % 6 == 0)
    return q.recent(rows).select(
        canvas_rubric_association_id=pl.col("id") + 55_000,
        canvas_rubric_id=pl.col("id") + 50_000,
        canvas_association_id=pl.col("id") * 16,
        canvas_association_type=pl.lit("Assignment"),
        use_for_grading=pl.lit(True),
        title=pl.format("Essay 0 in {}", "course_code"),
        description=NOTHING,
        summary_data=NOTHING,
        purpose=pl.lit("grading"),
        url=NOTHING,
        canvas_context_id="id",
        canvas_context_type=pl.lit("Course"),
        hide_score_total=pl.lit(False),
        bookmarked=pl.lit(True),
        context_code=pl.format("course_{}", "id"),
        hide_points=pl.lit(False),
        hide_outcome_results=pl.lit(False),
        canvas_root_account_id=pl.lit(ROOT_ACCOUNT),
        workflow_state=pl.lit("active"),
    )


def rubric_assessments(u: University, q: Question) -> pl.DataFrame:
    rows = _students(u).filter(pl.col("course_id") % 6 == 0).unique(
        ["course_id", "user_id"], keep="first", maintain_order=True
    )  # fmt: skip
    return q.recent(rows).select(
        canvas_rubric_assessment_id=pl.col("id") + 800_000_000,
        canvas_user_id="user_id",
        canvas_rubric_id=pl.col("course_id") + 50_000,
        canvas_rubric_association_id=pl.col("course_id") + 55_000,
        score=u.chance("id", "rubric", 11).cast(pl.Float64) / 2,
        data=pl.lit('---\n- :points: 2.5\n  :comments: "fine"\n'),
        canvas_artifact_id="id",
        canvas_artifact_type=pl.lit("Submission"),
        assessment_type=pl.lit("grading"),
        canvas_assessor_id=pl.lit(1002),
        artifact_attempt=pl.lit(1),
        hide_points=pl.lit(False),
        canvas_root_account_id=pl.lit(ROOT_ACCOUNT),
    )


def roles(u: University, account: int) -> list[dict[str, object]]:
    """Roles of one account: the built-in ones are the root's, every faculty has one of its own."""
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


def outcomes(u: University, account: int) -> list[dict[str, object]]:
    """Two outcomes per account."""
    return [
        {
            "id": account * 10 + n,
            "context_id": account,
            "context_type": "Account",
            "title": f"Outcome {n}, “{account}”",
            "display_name": None,
            "description": "<p>writes clearly</p>",
            "vendor_guid": f"guid-{account}-{n}",
            "points_possible": 5.0,
            "mastery_points": 3.5,
            "calculation_method": "decaying_average",
            "calculation_int": 65,
        }
        for n in (0, 1)
    ]


def outcome_links(u: University, account: int) -> list[dict[str, object]]:
    """Canvas lists the links, each of which holds its outcome."""
    return [{"url": f"/api/v1/outcomes/{each['id']}", "outcome": each} for each in outcomes(u, account)]


def outcome_results(u: University, course: int) -> list[dict[str, object]]:
    """One result per student of every seventh course."""
    if course % 7:
        return []
    rows = _students(u).filter(pl.col("course_id") == course).unique("user_id", keep="first", maintain_order=True)
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


def _courses_with_groups(u: University) -> pl.DataFrame:
    return u.courses.filter((pl.col("id") % 4 == 0) & (pl.col("state") != "deleted"))


def _students(u: University) -> pl.DataFrame:
    live = u.enrollments.filter((pl.col("type") == "StudentEnrollment") & (pl.col("state") != "deleted"))
    homes = u.sections.select(section_id="id", course_id="course_id")
    return live.join(homes, on="section_id", maintain_order="left").sort("id")


def _tasks(u: University, q: Question) -> pl.DataFrame:
    return u.assignments.join(
        courses_asked(u, q).select(course_id="id"), on="course_id", how="semi", maintain_order="left"
    )


def _of_term(frame: pl.DataFrame, q: Question) -> pl.DataFrame:
    return frame if q.term is None else frame.filter(pl.col("term_id") == q.term)


def _sis_ids(u: University) -> pl.DataFrame:
    live = u.logins.filter(pl.col("state") != "deleted")
    return live.group_by("user_id").agg(pl.col("sis_id").drop_nulls().first().alias("user_sis"))
