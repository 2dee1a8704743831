"""What users import is listed, is there, is documented, and is typed."""

from __future__ import annotations

import ast
import inspect
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import canvas_sync_dagster

if TYPE_CHECKING:
    from canvas_sync_dagster import (  # noqa: F401 (mypy finds them)
        Canvas,
        CanvasAsset,
        CanvasSync,
        CanvasSyncTranslator,
        DownloadedReport,
        InsertionContext,
        LiveEvent,
        ReportContext,
        TenantSettings,
    )


def test_what_is_listed_is_there_and_the_other_way_round() -> None:
    assert dir(canvas_sync_dagster) == canvas_sync_dagster.__all__
    assert canvas_sync_dagster.__all__ == [
        "Canvas",
        "CanvasAsset",
        "CanvasResource",
        "CanvasSync",
        "CanvasSyncComponent",
        "CanvasSyncError",
        "CanvasSyncTranslator",
        "DownloadedReport",
        "InsertionContext",
        "LiveEvent",
        "Model",
        "ReportContext",
        "Settings",
        "TenantSettings",
        "Term",
        "WarehouseResource",
        "fetch",
        "find_or_fetch",
        "load_objects",
    ]


def test_type_checkers_see_the_names_that_are_imported() -> None:
    tree = ast.parse(Path(canvas_sync_dagster.__file__).read_text(encoding="utf-8"))
    conditions = [node for node in tree.body if isinstance(node, ast.If)]
    (listed,) = (node for node in conditions if ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in listed.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: str(node.module) for node in imports for alias in node.names}
    package = canvas_sync_dagster.__name__
    assert seen == {name: f"{package}.{module}" for name, module in vars(canvas_sync_dagster)["_MODULES"].items()}


@pytest.mark.parametrize("name", canvas_sync_dagster.__all__)
def test_every_public_name_and_method_says_what_it_is_for(name: str) -> None:
    found = getattr(canvas_sync_dagster, name)
    members = [member for key, member in vars(found).items() if not key.startswith("_") and inspect.isfunction(member)]
    silent = [each.__qualname__ for each in (found, *members) if not (each.__doc__ or "").strip()]
    assert [each for each in silent if "validator" not in each] == []


def test_types_are_shipped() -> None:
    assert files(canvas_sync_dagster).joinpath("py.typed").is_file()


def test_a_name_that_is_not_there_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="CanvasSynk"):
        _ = canvas_sync_dagster.CanvasSynk
