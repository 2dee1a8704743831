"""The data dictionary in Markdown: the meaning and the source of each column."""

from __future__ import annotations

from collections.abc import Iterable

from canvas_sync_dagster.catalogue.model import SYSTEM_COLUMNS, Column, Model, ProvisioningFeed, ReportFeed


def data_dictionary(models: Iterable[Model]) -> str:
    """Return the dictionary: one section per model."""
    chosen = sorted(models, key=lambda model: model.name)
    head = [
        "# Tables",
        "",
        "This page is for people who write SQL: it lists each table, with the meaning and the source of each column. It is generated from the catalogue (`make docs`). Each tenant has one schema with these tables.",
        "",
        "Every table also has these columns:",
        "",
        *_table(("column", "type", "meaning"), [(f"`{c.name}`", c.type.value, c.comment) for c in SYSTEM_COLUMNS]),
        "",
        "References between the tables, by Canvas ids. There are no foreign keys, because reports arrive in any order. The colour of a table shows its domain: violet people, blue courses, green coursework, brown outcomes, pink content, grey organisation.",
        "",
        "![References between the tables](../images/tables.svg)",
        "",
    ]
    return "\n".join(head + [line for model in chosen for line in _section(model)])


def _section(model: Model) -> list[str]:
    scope = "term by term" if model.term_scoped else "for the whole account"
    rows = [(f"`{c.name}`", c.type.value, _report(model, c), _over_rest(model, c), c.comment) for c in model.columns]
    return [
        f"## {model.name}",
        "",
        f"{model.comment}{_stored(model)} Domain: {model.domain}. Key: {', '.join(f'`{name}`' for name in model.key)}. {_source(model)}, {scope}.{_walk(model)}",
        "",
        *_table(("column", "type", "in the report", "over REST", "meaning"), rows),
        "",
    ]


def _stored(model: Model) -> str:
    return f" Table: `{model.table}`." if model.table != model.name else ""


def _source(model: Model) -> str:
    match model.feed:
        case ProvisioningFeed(table=table, stock=stock):
            only = "" if stock else " (of `proservices_provisioning_csv` only)"
            return f"Fed by the table `{table}` of the provisioning report{only}"
        case ReportFeed(report=report, assumed_header=assumed):
            return f"Fed by `{report}`{' (header assumed)' if assumed else ''}"
        case rest:
            return f"Fed over REST from `{rest.path}`"


def _walk(model: Model) -> str:
    """Return a sentence about the walk over REST in place of the report; empty if there is none."""
    if model.rest is None:
        return ""
    return f" Without that report, or if `feeds` requests it: over REST from `{model.rest.path}`."


def _over_rest(model: Model, column: Column) -> str:
    """Return the field of the API; of a model that can be walked, also that a column is from the parent, or not provided."""
    if column.api:
        return f"`{column.api}`"
    if model.rest is None:
        return ""
    return "the parent" if model.is_walked(column) else "not provided"


def _report(model: Model, column: Column) -> str:
    spellings = [f"`{name}`" for name in column.report]
    if isinstance(model.feed, ProvisioningFeed):
        for extra in model.feed.enrichments:
            if column.name in extra.columns:
                spellings.append(f"`{extra.columns[column.name]}` of `{extra.table}`")
    return " or ".join(spellings)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]
