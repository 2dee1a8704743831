"""Change a share of all rows at once, as the users of a large university do between two syncs."""

from __future__ import annotations

from canvas_sync_dagster.simulator.university.state import University

PARTS = 1_000_000
"""A share is rounded to so many parts."""
CHANGES = {
    "users": ("last_name", ["Renamed-{}"]),
    "courses": ("name", ["Course, renewed {} times"]),
    "sections": ("name", ["Section, moved {} times"]),
    "enrollments": ("state", ["completed", "active", "inactive"]),
    "assignments": ("title", ["Essay, version {}"]),
}
"""Table → the column that changes, and its values in turn; `{}` stands for the number of the change."""


def change_rows(university: University, share: float) -> int:
    """Change about this share of the rows of each table, at the present time; the seed decides which.

    Args:
        university: At its present moment; its number of changes increases.
        share: From 0 to 1.

    Returns:
        The number of rows that were changed.

    Raises:
        ValueError: The share is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of rows is between 0 and 1, not {share}")
    university.changes += 1
    changed = 0
    for table, (column, values) in CHANGES.items():
        chosen = university.chance("id", f"{table} {university.changes}", PARTS) < share * PARTS
        value = values[university.changes % len(values)].format(university.changes)
        changed += int(getattr(university, table).select(chosen.sum()).item())
        university.set(table, chosen, **{column: value})
    return changed
