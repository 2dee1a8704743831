"""`canvas-sync simulate`: serves a simulated Canvas, whose days may pass and whose live events may be delivered."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import click

from canvas_sync_dagster.commands.output import say
from canvas_sync_dagster.simulator import SIZES, DeliveryFaults, SimulatedCanvas, deliver

UNRELIABLE = {"loss": 0.05, "duplicates": 0.2}
"""Shares of events that --hostile loses and sends twice; more than Canvas does."""
TICK_SECONDS = 1.0
"""Seconds between two movements of the clock. `canvas-sync doctor` compares it with that of this host."""
TERM = timedelta(days=31)
"""Time that passes before the start, so that a term has begun, whatever the date is: one begins every 30 days."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8765, show_default=True, help="Port to listen on.")
@click.option(
    "--size", type=click.Choice(list(SIZES)), default="small", show_default=True, help="Size of the university."
)
@click.option("--seed", default=1, show_default=True, help="Number that decides the university's data.")
@click.option("--hostile", is_flag=True, help="Make requests, reports, files and deliveries fail at random.")
@click.option("--compile-seconds", default=2.0, show_default=True, help="Seconds that a report takes.")
@click.option("--day-seconds", type=click.FloatRange(min=0.1), help="Let one simulated day pass every so many seconds.")
@click.option("--events-to", help="URL of a receiver; gets signed live events of each day's changes.")
def simulate(
    *,
    host: str,
    port: int,
    size: str,
    seed: int,
    hostile: bool,
    compile_seconds: float,
    day_seconds: float | None,
    events_to: str | None,
) -> None:
    """Serve a simulated Canvas to develop against."""
    if events_to and not day_seconds:
        raise click.UsageError("--events-to delivers what changes as days pass; add --day-seconds")
    started = datetime.now(UTC) - TERM
    canvas = SimulatedCanvas(size, seed=seed, hostile=hostile, compile_seconds=compile_seconds, now=started)
    canvas.advance(seconds=TERM.total_seconds())
    try:
        with canvas.serve(host, port):
            say(
                f"export CANVAS_SYNC_BASE_URL={canvas.base_url} CANVAS_SYNC_TOKEN={canvas.token} CANVAS_SYNC_POLL_SECONDS=1 "
                f"DATASERVICES_JWK_URL={canvas.jwk_url}"
            )
            say("The simulated Canvas is ready. Press Ctrl-C to stop it.", err=True)
            while True:
                time.sleep(day_seconds or TICK_SECONDS)
                if day_seconds:
                    _pass_day(canvas, events_to, hostile=hostile)
                else:
                    canvas.advance(seconds=max(0.0, (datetime.now(UTC) - canvas.now).total_seconds()))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host}:{port}: {error.strerror}. Choose another --port."
        ) from None


def _pass_day(canvas: SimulatedCanvas, events_to: str | None, *, hostile: bool) -> None:
    canvas.advance(days=1)
    events = canvas.take_events(everything=True)
    if events_to is None:
        return
    seed = canvas.now.toordinal()
    faults = DeliveryFaults(**UNRELIABLE, disorder=True, seed=seed) if hostile else DeliveryFaults()
    statuses = Counter(deliver(events_to, canvas.signer, events, faults))
    delivered = ", ".join(f"{number} × {status or 'no answer'}" for status, number in sorted(statuses.items()))
    say(f"{canvas.now:%Y-%m-%d}: {len(events)} events; delivered: {delivered or 'none'}", err=True)
