"""Exception classes: one module, one tree, nothing forgotten."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import canvas_sync_dagster
from canvas_sync_dagster import errors
from canvas_sync_dagster.errors import CanvasSyncError


def subclasses(parent: type[BaseException]) -> Iterator[type[BaseException]]:
    for child in parent.__subclasses__():
        yield child
        yield from subclasses(child)


def ours() -> set[type[BaseException]]:
    """Return each exception class that a module of the package defines, private ones included."""
    names = pkgutil.walk_packages(canvas_sync_dagster.__path__, f"{canvas_sync_dagster.__name__}.")
    for module in names:
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    prefix = f"{canvas_sync_dagster.__name__}."
    found = {each for each in subclasses(BaseException) if each.__module__.startswith(prefix)}
    # A class made at run time, such as that of `run_errors.raised`, is not in the source.
    return {each for each in found if "<locals>" not in each.__qualname__ and not is_made_at_run_time(each)}


def is_made_at_run_time(each: type[BaseException]) -> bool:
    try:
        inspect.getsource(each)
    except (OSError, TypeError):
        return True
    return False


def tree() -> dict[str, str | None]:
    """Read the tree in the docstring: class → class above it."""
    found: dict[str, str | None] = {}
    path: list[str] = []
    for indent, name in re.findall(r"^((?:[│ ] {3})*(?:[├└]── )?)(\w+Error)\b", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 4
        path = [*path[:depth], name]
        assert name not in found, f"{name} is listed twice"
        found[name] = path[depth - 1] if depth else None
    return found


def test_every_exception_class_of_the_package_is_defined_in_errors() -> None:
    elsewhere = {f"{each.__module__}.{each.__qualname__}" for each in ours() if each.__module__ != errors.__name__}
    assert elsewhere == set()


def test_the_tree_of_errors_lists_every_class_below_one_of_its_bases() -> None:
    listed = tree()
    assert set(listed) == {each.__name__ for each in ours() if each.__module__ == errors.__name__}
    for name, above in listed.items():
        bases = {base.__name__ for base in getattr(errors, name).__bases__}
        assert above in bases if above else name == CanvasSyncError.__name__


def test_every_exception_class_has_a_docstring() -> None:
    assert [each.__name__ for each in ours() if each.__module__ == errors.__name__ and not each.__doc__] == []
