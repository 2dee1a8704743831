"""The demo of the working directory, for commands that run where no Canvas and no database is configured."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from canvas_sync_dagster.commands.location import Location, find, location_options
from canvas_sync_dagster.commands.output import say
from canvas_sync_dagster.embedded import embedded_database_url
from canvas_sync_dagster.postgres_url import DAGSTER_DATABASE_URL
from canvas_sync_dagster.project.builder import CanvasSync
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.tenants import TenantSettings

SLUG = "canvas"
DAGSTER_DATABASE = "demo_dagster"


def demo_directory(home: Path) -> Path:
    """Return the DAGSTER_HOME of the demo below a home directory."""
    return home / "demo"


def demo_database(size: str) -> str:
    """Return the name of the database of a demo."""
    return f"demo_{size}"


def remember_demo(home: Path, size: str) -> None:
    """Store which demo was run last."""
    (demo_directory(home) / "size").write_text(f"{size}\n", encoding="utf-8")


def remembered_demo(home: Path) -> str | None:
    """Return the size of the demo that was run last; None if there was none."""
    file = demo_directory(home) / "size"
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None


def located_or_demo(*, with_canvas: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options `-m` and `-f`, and as its first argument the location, or the demo.

    It is the demo if neither option is given, the environment configures neither a Canvas nor a database, and
    `canvas-sync demo` was run in this directory.

    Args:
        with_canvas: Whether the command needs the simulated Canvas of the demo.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @location_options
        @functools.wraps(command)
        def wrapped(module: str | None, file: Path | None, **options: Any) -> Any:
            location = find(module, file)
            given = module is not None or file is not None
            size = None if given or _is_configured(location) else remembered_demo(location.settings.home)
            if size is None:
                return command(location, **options)
            say(f"No Canvas is configured here: this is the demo ({size}).", err=True)
            with _demo(location.settings.home, size, with_canvas=with_canvas) as demo:
                return command(demo, **options)

        return wrapped

    return decorate


def _is_configured(location: Location) -> bool:
    settings = location.settings
    return bool(settings.broken) or any(each.base_url or each.database_url for each in settings.tenants)


@contextmanager
def _demo(home: Path, size: str, *, with_canvas: bool) -> Iterator[Location]:
    """Yield the location of a demo; its simulated Canvas runs meanwhile, at the time of this host, if it is needed."""
    url = SecretStr(embedded_database_url(home, demo_database(size)))
    with ExitStack() as stack:
        given: dict[str, Any] = {}
        shared: dict[str, Any] = {}
        if with_canvas:
            from canvas_sync_dagster.simulator import SimulatedCanvas  # noqa: PLC0415 (other commands need not import it)

            canvas = stack.enter_context(SimulatedCanvas(size, now=datetime.now(UTC)).serve())
            given = {"base_url": canvas.base_url, "token": SecretStr(canvas.token)}
            shared = {"jwk_url": canvas.jwk_url}
            os.environ["DAGSTER_HOME"] = str(demo_directory(home).absolute())
            os.environ[DAGSTER_DATABASE_URL] = embedded_database_url(home, DAGSTER_DATABASE)
        tenant = TenantSettings(slug=SLUG, database_url=url, **given)
        yield Location(CanvasSync(Settings(home=home, tenants=(tenant,), **shared)).project())
