"""Parameters of reports: which ones a user may set, and how Canvas reads them from a form.

Canvas is a Rails application: `parameters[states][]=active` is an item of a list, `parameters[range][from]=1` a key of a
mapping. Here a value is text, a list or a mapping of such values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from canvas_sync_dagster.catalogue.model import Model, ProvisioningFeed, RestFeed

Parameters = Mapping[str, Any]
"""Parameters as they are sent: text, lists and mappings."""
NONE: Parameters = MappingProxyType({})
ADDED_BY_CANVAS = frozenset({"extra_text", "locale"})
"""Parameters that Canvas adds to every report; they do not distinguish reports."""
OWNED = frozenset({"enrollment_term_id", "enrollment_term", "updated_after", "include_deleted"}) | ADDED_BY_CANVAS
"""The sync sets these itself: the term of the run, full or incremental, and rows that Canvas marks as deleted."""

TABLES = frozenset(
    {
        *("users", "accounts", "terms", "courses", "sections", "enrollments", "groups", "group_membership"),
        *("group_categories", "xlist", "user_observers", "admins", "roles", "pseudonyms"),
        *("grading_periods", "grading_period_groups"),
    }
)
"""Parameters that select the tables of a provisioning report. The sync sets them from the selection of the run."""


def encoded(given: Mapping[str, object]) -> dict[str, Any]:
    """Return parameters as they are sent; those that are None, or an empty list or mapping, are omitted.

    >>> encoded({"include_all": True, "limit": 5, "states": ["active", None], "range": {"from": date(2026, 1, 1)}, "x": None})
    {'include_all': 'true', 'limit': '5', 'states': ['active'], 'range': {'from': '2026-01-01'}}

    Raises:
        ValueError: A name or a value cannot be sent to Canvas.
    """
    found = {_name(name): _value(str(name), value) for name, value in given.items() if value is not None}
    return {name: value for name, value in found.items() if not _is_empty(value)}


def form(parameters: Parameters) -> list[tuple[str, str]]:
    """Return the pairs of the form that starts a report.

    >>> form({"users": "true", "states": ["a", "b"], "range": {"from": "1"}})[1:]
    [('parameters[states][]', 'a'), ('parameters[states][]', 'b'), ('parameters[range][from]', '1')]
    """
    return [pair for name, value in parameters.items() for pair in _pairs(f"parameters[{name}]", value)]


def merged(*given: Mapping[str, object]) -> dict[str, object]:
    """Merge parameters by name: a later value replaces an earlier one, and None removes it.

    >>> merged({"a": 1, "b": 2}, {"a": None, "b": 3})
    {'b': 3}
    """
    whole = {name: value for each in given for name, value in each.items()}
    return {name: value for name, value in whole.items() if value is not None}


def digest(parameters: Parameters) -> str:
    """Return a short digest of parameters; empty if there are none."""
    if not parameters:
        return ""
    return hashlib.sha256(json.dumps(dict(parameters), sort_keys=True).encode()).hexdigest()[:16]


def refuse_owned(given: Mapping[str, object], owned: Collection[str] = OWNED) -> None:
    """Refuse parameters that the sync sets itself.

    Raises:
        ValueError: The sync sets one of them itself; the message names it.
    """
    if taken := sorted(str(name) for name in given if name in owned):
        raise ValueError(f"the sync sets the parameter {taken[0]} itself")


def refuse_parameters(model: Model, given: Mapping[str, object]) -> None:
    """Check parameters that a user gives to the report of a built-in model.

    Raises:
        ValueError: The sync sets one itself, no report feeds the model, or a value has no form that Canvas reads.
    """
    if isinstance(model.feed, RestFeed):
        raise ValueError(f"{model.name} is read over REST, so that it has no report to give parameters to")  # noqa: TRY004 (a wrong setting)
    tables = TABLES if isinstance(model.feed, ProvisioningFeed) else frozenset()
    refuse_owned(given, OWNED | tables)
    encoded(given)


def _name(name: object) -> str:
    text = str(name)
    if not text or "[" in text or "]" in text:
        raise ValueError(
            f"the name of the parameter {text!r} is empty or contains brackets; use a list or a mapping as its value"
        )
    return text


def _value(path: str, value: object) -> Any:
    if isinstance(value, Mapping):
        inner = {_name(name): _value(f"{path}.{name}", each) for name, each in value.items() if each is not None}
        return {name: each for name, each in inner.items() if not _is_empty(each)}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        found = [_value(path, each) for each in items if each is not None]
        if any(isinstance(each, list) for each in found):
            raise ValueError(f"the parameter {path} is a list of lists, which a form cannot represent")
        return [each for each in found if not _is_empty(each)]
    return _text(path, value)


def _text(path: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (str, int, float, Decimal)):
        return str(value)
    raise ValueError(f"the parameter {path} is of type {type(value).__name__}, which a form cannot represent")


def _is_empty(value: object) -> bool:
    return isinstance(value, (list, dict)) and not value


def _pairs(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _pairs(f"{path}[{name}]", each)
    elif isinstance(value, list):
        for each in value:
            yield from _pairs(f"{path}[]", each)
    else:
        yield path, str(value)
