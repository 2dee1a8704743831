"""How `canvas-sync status` reads: facts of a tenant → verdict, problems, table. The facts are the document of `--json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import RenderableType

from canvas_sync_dagster.commands.rendering import (
    MARK,
    Column,
    ago,
    counted,
    listed,
    paragraph,
    skipped_lines,
    table,
    unique,
    when,
)

Facts = Mapping[str, Any]
"""What `--json` prints of a tenant, of a model or of a scope."""

FUTURE = (
    "A clock was wrong: there are observations that lie in the future. They do not count, and the next sync replaces "
    "what differs. Run `canvas-sync doctor` to compare the clocks; `canvas-sync sync --reload` gives each row a right time."
)
SILENT = (
    "no live event since {}, which is longer than usual: is the receiver up, and the subscription active? The next sync "
    "reaches back over the gap by itself."
)


def problems(told: Facts) -> list[str]:
    """Return what needs a person, one sentence with its remedy for each.

    Args:
        told: The facts of a tenant.
    """
    if "lacking" in told:
        return [
            f"{counted(len(told['lacking']), 'table or column', 'tables or columns')} missing. Run `canvas-sync migrate`."
        ]
    return [*_of_syncs(told), *_of_rows(told), *_of_events(told), *_of_settings(told)]


def _of_syncs(told: Facts) -> Iterator[str]:
    models, batch = told["models"], told["batch"]
    if batch is None and not any(scope["last"] for model in models for scope in model["scopes"]):
        yield "No sync yet. Run `canvas-sync sync`."
        return
    if batch and batch["status"] == "failed":
        yield f"The last sync failed{': ' + batch['reason'] if batch['reason'] else ''}."
    failures: dict[str, list[str]] = {}
    for model in models:
        for scope in _in_scope(model):
            if scope["last"] and scope["last"]["status"] == "error":
                failures.setdefault(_first_line(scope["last"]["error"]), []).append(_place(model, scope))
    for error, places in failures.items():
        yield f"failed: {listed(places)}: {error or 'Dagster has the reason'}"
    if stale := [model["model"] for model in models if any(scope["stale"] for scope in _in_scope(model))]:
        yield f"stale: {listed(stale)}. Is the schedule running? `--by-term` shows the terms."


def _of_rows(told: Facts) -> Iterator[str]:
    yield from told["unwritable"].values()
    for each in told["missing_headers"]:
        yield f"{each}. Correct the mapping; `canvas-sync doctor` shows the headers that the report had."
    if told["rejects"]:
        names = [model["model"] for model in told["models"] if model["rejects"]]
        yield (
            f"{counted(told['rejects'], 'rejected row')}: {listed(names)}. canvas_sync_rejected_rows has the reasons; after a "
            "fix, run `canvas-sync replay rejects`."
        )
    if drifted := [each for each in told.get("audits", ()) if each["drifted"]]:
        number = counted(sum(each["drifted"] for each in drifted), "difference")
        yield (
            f"{number} from Canvas in the latest audit: {listed([each['model'] for each in drifted])}. Run `canvas-sync audit` "
            "to see them; with --repair, it reads them again."
        )
    ahead = any(model["observed_in_future"] for model in told["models"])
    if ahead or any(scope["as_of_in_future"] for model in told["models"] for scope in model["scopes"]):
        yield FUTURE


def _of_events(told: Facts) -> Iterator[str]:
    events = told["events"]
    if events["dead"]:
        yield (
            f"{counted(events['dead'], 'dead live event')}. The column error of canvas_sync_live_events has the reasons; "
            "after a fix, run `canvas-sync replay events`."
        )
    if events["silent"]:
        yield SILENT.format(when(events["latest"]))
    for each in told["undelivered_alerts"]:
        yield f"alerts not delivered by {each['channel']}: {each['count']:,}, and sent again later: {each['error']}"


def _of_settings(told: Facts) -> Iterator[str]:
    yield from told["unmet"]


def status_lines(told: Facts, width: int | None, now: datetime, *, by_term: bool = False) -> list[RenderableType]:
    """Return the status of a tenant: verdict, problems, other facts, then a table.

    Args:
        told: The facts of the tenant.
        width: Columns of the terminal, or None.
        now: The time, for ages.
        by_term: Whether the table has a row per model and term, with reasons, instead of one per model.
    """
    found = problems(told)
    shown: list[RenderableType] = [
        paragraph(_verdict(told, found), width, style="bold yellow" if found else "bold green"),
        *(paragraph(each, width, mark=MARK, style="yellow") for each in found),
    ]
    if "lacking" in told:
        return shown
    shown += [paragraph(line, width, mark="  ") for line in _facts(told, now)]
    return [*shown, "", _by_term(told, width) if by_term else _by_model(told, width)]


def _verdict(told: Facts, found: Sequence[str]) -> str:
    if found:
        return f"{told['tenant']}: {counted(len(found), 'thing needs', 'things need')} attention"
    fed = [model for model in told["models"] if not _is_skipped(model)]
    rows = sum(model["rows"] for model in fed)
    return f"{told['tenant']}: all is well: {counted(len(fed), 'model')}, {counted(rows, 'row')}, none stale"


def _facts(told: Facts, now: datetime) -> Iterator[str]:
    for batch in told["under_way"]:
        ends_at = batch["ends_by_itself_at"]
        unless = f"; its process is not seen, and unless it is, it ends by itself at {when(ends_at)}" if ends_at else ""
        yield f"under way: {batch['key']}, since {when(batch['started_at'])}{unless}"
    if (batch := told["batch"]) and batch["status"] != "processing":
        reason = f": {batch['reason']}" if batch["reason"] else ""
        yield f"last sync: {when(batch['started_at'])}, {ago(batch['started_at'], now)}, {batch['status']}{reason}"
    yield f"schedule: {told['schedule']}"
    for each in told["genres"]:
        batch = each["batch"]
        last = f"; last sync: {batch['key']} {batch['status']}" if batch else ""
        yield f"genre {each['genre']}: {each['schedule']}, models {', '.join(each['models'])}{last}"
    if audits := told.get("audits"):
        highest = max(audits, key=lambda each: max(each["wrong_high"] or 0, each["missing_high"] or 0))
        most = max(highest["wrong_high"] or 0, highest["missing_high"] or 0)
        yield (
            f"latest audit: {when(max(each['at'] for each in audits))}, {counted(len(audits), 'table')}; wrong or missing are "
            f"at most {100 * most:.2f} % of a table ({highest['model']})"
        )
    events = told["events"]
    latest = f"; the latest one: {when(events['latest'])}" if events["latest"] else ""
    yield f"live events: {events['waiting']:,} waiting{latest}"
    for each in events["left_to_reports"]:
        early = "; an early sync was requested" if each["early_sync"] else ""
        yield (
            f"{each['events']:,} events wait for the next report of {each['model']} (at {when(each['at'])}{early}): "
            "reading their objects from Canvas would take longer"
        )
    for gap in events["gaps"]:
        repair = (
            "syncs have reached back over it" if gap["repaired"] else "the next sync reaches back over it by itself"
        )
        yield f"no live event from {when(gap['since'])} to {when(gap['until'])}, which was longer than usual: {repair}."
    reasons = {
        model["model"]: model["scopes"][0]["last"]["mode_reason"] for model in told["models"] if _is_skipped(model)
    }
    for line in skipped_lines(reasons):
        yield f"skipped: {line}"
    yield from _walked(told["models"])


def _walked(models: Sequence[Facts]) -> Iterator[str]:
    """Yield a line for each model that was read over REST although a report can feed it, with the reason and the cost."""
    for model in models:
        walks = [scope["last"] for scope in model["scopes"] if scope["last"] and scope["last"]["feed"] == "rest"]
        if walks and model["has_report"]:
            requests = sum(each["requests"] or 0 for each in walks)
            why = walks[-1]["feed_reason"]
            yield f"over REST: {model['model']}, because {why}; the last walks took {counted(requests, 'request')}"


def _by_model(told: Facts, width: int | None) -> RenderableType:
    columns = [
        Column("model", shrinks=True),
        Column("terms", right=True, drop=6, optional=True),
        Column("rows", right=True),
        Column("data as of (UTC)"),
        Column("last sync", drop=3),
        Column("next sync", drop=7),
        Column("look at", drop=1, optional=True),
    ]
    return table(columns, map(_model_row, told["models"]), width)


def _model_row(model: Facts) -> list[str]:
    scopes = _in_scope(model) or model["scopes"]
    skipped = _is_skipped(model)
    has_terms = any(scope["term"] for scope in scopes) and not skipped
    times = [scope["as_of"] for scope in scopes if not _scope_is_skipped(scope) or scope["as_of"]]
    oldest = "" if not times else "never" if None in times else when(min(times))
    coming = [] if skipped else [scope["next"]["mode"] if scope["next"] else "out of scope" for scope in scopes]
    stale = sum(scope["stale"] for scope in scopes)
    notes = [f"stale: {stale} of {len(scopes)}" if has_terms else "stale"] if stale else []
    return [
        model["model"],
        _number_of_terms(len(scopes), len(model["scopes"])) if has_terms else "",
        f"{model['rows']:,}",
        oldest,
        unique(map(_outcome, scopes), _several),
        unique(coming, lambda _: "both"),
        ", ".join([*notes, *_counts(model)]),
    ]


def _outcome(scope: Facts) -> str:
    last = scope["last"]
    if last is None:
        return "none"
    return str(last["mode"] if last["status"] == "success" else last["status"])


def _several(outcomes: list[str]) -> str:
    """Return the worst of several outcomes."""
    for each in ("error", "cancelled", "running", "none", "skipped"):
        if each in outcomes:
            return f"{each} in some"
    return "both"


def _by_term(told: Facts, width: int | None) -> RenderableType:
    columns = [
        Column("model", shrinks=True),
        Column("term", right=True, optional=True),
        Column("rows", right=True, drop=5),
        Column("data as of (UTC)"),
        Column("last sync", drop=2, shrinks=True),
        Column("at (UTC)", drop=7),
        Column("why", drop=8),
        Column("next sync", drop=6),
        Column("look at", drop=1, optional=True),
    ]
    return table(columns, [row for model in told["models"] for row in _term_rows(model)], width)


def _term_rows(model: Facts) -> Iterator[list[str]]:
    scopes = model["scopes"]
    if _is_skipped(model):
        scopes = [{**scopes[0], "term": ""}]
    for at, scope in enumerate(scopes):
        last, skipped = scope["last"], _scope_is_skipped(scope)
        marks = {"stale": scope["stale"], "synced in the future": scope["as_of_in_future"]}
        superseded = (last or {}).get("superseded")
        yield [
            model["model"],
            scope["term"],
            f"{model['rows']:,}" if at == 0 else "",
            "" if skipped and scope["as_of"] is None else when(scope["as_of"]),
            _last(last),
            when(last["at"]) if last else "",
            (last or {}).get("mode_reason") or "",
            "" if skipped else _next(scope["next"]),
            ", ".join(
                [
                    *(name for name, applies in marks.items() if applies),
                    *(_counts(model) if at == 0 else []),
                    *([f"{superseded:,} superseded"] if superseded else []),
                ]
            ),
        ]


def _number_of_terms(in_scope: int, synced: int) -> str:
    """Return how many terms are in scope, of how many that have been synced; their rows are in the table, too.

    >>> _number_of_terms(4, 4), _number_of_terms(2, 4)
    ('4', '2 of 4')
    """
    return f"{in_scope:,}" if in_scope == synced else f"{in_scope:,} of {synced:,}"


def _in_scope(model: Facts) -> list[Facts]:
    return [scope for scope in model["scopes"] if scope["next"] is not None]


def _is_skipped(model: Facts) -> bool:
    """Return whether this Canvas cannot feed a model, and never could."""
    scopes = model["scopes"]
    return bool(scopes) and all(_scope_is_skipped(scope) and scope["as_of"] is None for scope in scopes)


def _scope_is_skipped(scope: Facts) -> bool:
    return bool(scope["last"] and scope["last"]["status"] == "skipped")


def _place(model: Facts, scope: Facts) -> str:
    return f"{model['model']} of term {scope['term']}" if scope["term"] else str(model["model"])


def _first_line(error: str | None) -> str:
    return error.splitlines()[0] if error else ""


def _counts(model: Facts) -> list[str]:
    found = [counted(model[name], name.removesuffix("s")) for name in ("suspects", "rejects") if model[name]]
    return [*found, *([f"{model['observed_in_future']:,} in the future"] if model["observed_in_future"] else [])]


def _last(last: Facts | None) -> str:
    if last is None:
        return "none"
    if last["status"] == "success":
        return f"{last['mode']}, {counted(last['rows'] or 0, 'row')}"
    error = _first_line(last["error"]) if last["status"] == "error" else ""
    return f"{last['status']}{': ' + error if error else ''}"


def _next(coming: Facts | None) -> str:
    if coming is None:
        return "out of scope"
    since = f" since {when(coming['updated_after'])}" if coming["updated_after"] else ""
    return f"{coming['mode']}{since}"
