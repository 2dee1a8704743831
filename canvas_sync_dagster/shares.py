"""Attributes that are the definitions of another module, for a share of its tenants.

`canvas-sync workspace` writes such attributes into a `workspace.yaml`; `dagster api grpc -m canvas_sync_dagster.shares
-a ATTRIBUTE` serves one. An attribute has the form `MODULE:ATTRIBUTE:TENANTS`, such as
`canvas_sync_dagster.definitions:defs:north,south`.
"""

from __future__ import annotations

import importlib
import os

from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.project.share import VARIABLE

_loaded: list[str] = []


def __getattr__(name: str) -> object:
    if name.count(":") != 2:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; the form is MODULE:ATTRIBUTE:TENANTS")
    if _loaded not in ([], [name]):
        # Python imports a module once, so that the second share would get the definitions of the first.
        problem = f"this process has loaded {_loaded[0]} already"
        raise SettingError("a share of the tenants", problem, allowed="a code server for each share", value=name)
    module, attribute, tenants = name.split(":")
    _loaded[:] = [name]
    # Not a variable of Python: the run workers that this process starts inherit it.
    os.environ[VARIABLE] = tenants
    return getattr(importlib.import_module(module), attribute)
