"""The tenants that a run worker needs: those of its run.

Dagster loads the whole code location in the process of each run, and gives the code that it loads no public way to ask
for the run. So we read the run from the callers of that code. Where that fails, as after a change in Dagster, a run
worker builds the definitions of all tenants; `tests/project/test_run_worker.py` then fails.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from types import FrameType

import dagster as dg

from canvas_sync_dagster.assets.tenant_assets import TenantAssets
from canvas_sync_dagster.project.outline import job_names

LOADS = ("dagster._core.definitions.reconstruct", "get_definition")
"""Module and name of the functions by which Dagster loads the definitions for a run."""
EXECUTES = {
    ("dagster._grpc.impl", "core_execute_run"),
    ("dagster._cli.api", "_execute_step_command_body"),
    ("dagster._core.executor.multiprocess", "execute"),
}
"""Module and name of the functions that execute a run, or a step of it, in a process that was started for it.

They are, in this order: of a run worker of every launcher; of a step in a pod, a container or a task; of a step in a
process of the multiprocess executor.
"""


def run_of_this_process() -> dg.DagsterRun | None:
    """Return the run for which Dagster is loading the definitions, if this process was started to execute it."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 (documented; `inspect.stack` would read source files)
    is_loading = False
    while frame is not None:
        place = (frame.f_globals.get("__name__"), frame.f_code.co_name)
        if is_loading and place in EXECUTES:
            return _run_in(frame.f_locals.values())
        # Not for code of the user that makes definitions within an op: it may need all tenants.
        is_loading = is_loading or place == LOADS
        frame = frame.f_back
    return None


def _run_in(values: Iterable[object]) -> dg.DagsterRun | None:
    for value in values:
        run = value if isinstance(value, dg.DagsterRun) else getattr(value, "dagster_run", None)
        if isinstance(run, dg.DagsterRun):
            return run
    return None


def tenants_of_process(tenants: Sequence[TenantAssets]) -> frozenset[str]:
    """Return the slugs of the tenants whose definitions this process needs: in a run worker those of its run."""
    run, everyone = run_of_this_process(), frozenset(each.tenant.slug for each in tenants)
    return (tenants_of_run(run, tenants) if run is not None else None) or everyone


def tenants_of_run(run: dg.DagsterRun, tenants: Sequence[TenantAssets]) -> frozenset[str] | None:
    """Return the slugs of the tenants whose definitions a run needs; None if it may need those of all."""
    slugs = frozenset(each.tenant.slug for each in tenants if run.job_name in job_names(each.tenant.slug))
    if slugs:
        return slugs
    selected = {*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())}
    owned = {each.tenant.slug: selected & each.keys.by_key.keys() for each in tenants}
    # Assets of the user may read any of ours, so that nothing can be left out.
    if not selected <= set().union(*owned.values()):
        return None
    return frozenset(slug for slug, keys in owned.items() if keys)
