"""Erased people: which rows are about them, and how loads leave those rows out.

Which columns hold a user is declared in the catalogue. A row is about a person if the person is in its key or owns it
(`canvas_user_id` of a model whose parents are users), or if it belongs to such a row, as a score belongs to an enrollment;
it is removed. A row that only mentions the person, such as the author of a rubric, loses the mention. The ids stay in `canvas_sync_erased_objects`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from canvas_sync_dagster.catalogue import Column, ColumnType, Model
from canvas_sync_dagster.catalogue.model import singular
from canvas_sync_dagster.warehouse.state.erased_objects import Erased

OWNER = "canvas_user_id"
USERS = "users"


def owners(model: Model) -> dict[str, str]:
    """Return the columns that make a row belong to a person → model whose id they hold.

    >>> from canvas_sync_dagster.catalogue import BUILT_IN
    >>> [owners(model) for model in BUILT_IN if model.name == "scores"]
    [{'canvas_enrollment_id': 'enrollments', 'canvas_id': 'scores'}]
    """
    declared = {column.name for column in model.columns}
    owner = {OWNER} if USERS in model.parents else set()
    users = {c.name: USERS for c in model.columns if c.user and c.name in {*model.key, *owner}}
    parents = {f"canvas_{singular(name)}_id": name for name in model.parents}
    own = {"canvas_id": model.name} if model.key == ("canvas_id",) else {}
    return {name: parent for name, parent in parents.items() if name in declared} | own | users


def mentions(model: Model) -> Iterator[Column]:
    """Yield the columns that name a user whom the row is not about."""
    return (column for column in model.columns if column.user and column.name not in owners(model))


def without_erased(frame: pl.DataFrame, model: Model, erased: Erased) -> tuple[pl.DataFrame, list[int]]:
    """Leave the rows of erased people out of a frame, and their ids out of the other rows.

    Returns:
        The rest, and the Canvas ids of the rows that were left out, as far as they have one.
    """
    gone = [
        pl.col(name).cast(pl.Int64, strict=False).is_in(list(erased[parent]))
        for name, parent in owners(model).items()
        if parent in erased and name in frame.columns
    ]
    users = erased.get(USERS, frozenset())
    blank = [_blanked(column, users) for column in mentions(model) if column.name in frame.columns]
    if users and blank:
        frame = frame.with_columns(blank)
    if not gone:
        return frame, []
    left_out = frame.select(pl.any_horizontal(gone).fill_null(value=False)).to_series()
    ids = (
        frame.filter(left_out).get_column("canvas_id") if model.key == ("canvas_id",) else pl.Series([], dtype=pl.Int64)
    )
    return frame.filter(~left_out), [int(number) for number in ids.cast(pl.Int64, strict=False).drop_nulls()]


def _blanked(column: Column, users: Iterable[int]) -> pl.Expr:
    value, numbers = pl.col(column.name), list(users)
    if column.type is not ColumnType.BIGINT_ARRAY:
        return pl.when(~value.cast(pl.Int64, strict=False).is_in(numbers)).then(value).alias(column.name)
    return value.map_elements(lambda text: _array_without(text, set(numbers)), return_dtype=pl.String)


def _array_without(text: str, users: set[int]) -> str:
    """Return PostgreSQL's text of an array without some elements.

    >>> _array_without("{1,22,2}", {2})
    '{1,22}'
    """
    kept = [number for number in text.strip("{}").split(",") if number and int(number) not in users]
    return "{" + ",".join(kept) + "}"


def names_erased(raw: str, erased: Erased) -> bool:
    """Return whether a rejected record of whatever shape names the id of an erased person."""
    users = {str(number) for number in erased.get(USERS, ())}
    return bool(users) and not users.isdisjoint(_words(raw))


def _words(raw: str) -> set[str]:
    return set("".join(letter if letter.isalnum() else " " for letter in raw).split())
