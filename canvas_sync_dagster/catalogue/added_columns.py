"""Columns that a report has and the model does not declare, kept as texts under the setting `unknown_columns: add`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from canvas_sync_dagster.catalogue.built_in import BUILT_IN
from canvas_sync_dagster.catalogue.headers import normalize
from canvas_sync_dagster.catalogue.model import SYSTEM_COLUMNS, Column, ColumnType, Model

LONGEST = 60
"""Bytes of a column's name: PostgreSQL's 63 less room for a number that makes it unique."""


def undeclared_headers(model: Model, header: Sequence[str]) -> tuple[str, ...]:
    """Return the normalized names in a header that feed no column of a model.

    Headers that a mapping has unlinked, and those of excluded columns, are not among them: they are left out on purpose.

    Args:
        model: With the mappings and settings of the tenant.
        header: Names in a report.
    """
    declared = [each for each in BUILT_IN if each.name == model.name]
    columns = [c for each in (model, *declared) for c in each.columns] + [each.column for each in model.protected]
    known = {normalize(name) for column in columns for name in column.report}
    return tuple(dict.fromkeys(name for name in map(normalize, header) if name and name not in known))


def column_for(header: str, taken: Collection[str]) -> str:
    """Return a name of a new column for a header: letters, digits and underscores, at most 63 bytes.

    >>> column_for("Preferred pronouns (he/she)", ()), column_for("2nd e-mail", ()), column_for("name", {"name"})
    ('preferred_pronouns_he_she', '_2nd_e_mail', 'name_2')

    Args:
        header: Name in the report.
        taken: Names that the table has already.
    """
    plain = re.sub(r"\W+", "_", normalize(header)).strip("_") or "column"
    plain = f"_{plain}" if plain[0].isdigit() else plain
    plain = plain.encode()[:LONGEST].decode(errors="ignore")
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    return name


def columns_for(
    model: Model, headers: Sequence[str], known: Mapping[str, str], existing: Collection[str]
) -> dict[str, str]:
    """Return normalized header → column for all added columns of a model.

    Args:
        model: Without them.
        headers: Normalized names that a report has and the model does not declare.
        known: Header → column, of earlier reports.
        existing: Columns of the table.
    """
    added = dict(known)
    taken = {column.name for column in (*model.columns, *SYSTEM_COLUMNS)} | {*existing} | {*known.values()}
    for header in headers:
        if header not in added:
            added[header] = column_for(header, taken)
            taken.add(added[header])
    return added


def with_added(model: Model, added: Mapping[str, str]) -> Model:
    """Return a model with its added columns.

    Args:
        model: Without them.
        added: Normalized header → column. A column that the model declares by now is left out.
    """
    declared = {column.name for column in model.columns}
    new = (
        Column(
            name,
            ColumnType.TEXT,
            report=(header,),
            comment=f"Column `{header}` of the report, which the model does not declare.",
            optional=True,
        )
        for header, name in added.items()
        if name not in declared
    )
    return model.with_columns(*new)
