"""Measure how clients of one token share Canvas's leaky bucket: requests per second, refusals, and the share of each.

The floor is the rate at which the bucket refills, 10 units per second divided by the cost of a request. Above it are the
600 units of a full bucket, which a short run spends.
"""

from __future__ import annotations

import threading
import time

import click
import httpx

from canvas_sync_dagster.canvas.throttle import REFILL, Throttle
from canvas_sync_dagster.simulator import Bucket

REQUEST = httpx.Request("GET", "https://canvas.test/api/v1/courses")


@click.command()
@click.option("--clients", default=4, show_default=True, help="Processes that use the token.")
@click.option("--threads", default=8, show_default=True, help="Threads of each client.")
@click.option("--cost", default=0.4, show_default=True, help="Units that one request costs.")
@click.option("--latency", default=0.3, show_default=True, help="Seconds of one request.")
@click.option("--seconds", default=60.0, show_default=True, help="Length of the measurement.")
def main(clients: int, threads: int, cost: float, latency: float, seconds: float) -> None:
    """Print the result of one measurement."""
    bucket, until = Bucket(cost=cost), time.monotonic() + seconds
    served, refused, lowest = [0] * clients, [0] * clients, [600.0]

    def request(client: int, throttle: Throttle) -> None:
        while time.monotonic() < until:
            throttle.acquire()
            if not bucket.enter():
                refused[client] += 1
                throttle.release(_response(403, "403 Forbidden (Rate Limit Exceeded)\n", bucket.remaining))
                continue
            time.sleep(latency)
            bucket.leave()
            lowest[0] = min(lowest[0], bucket.remaining)
            throttle.release(_response(200, "[]", bucket.remaining))
            served[client] += 1

    throttles = [Throttle() for _ in range(clients)]
    workers = [
        threading.Thread(target=request, args=(number % clients, throttles[number % clients]))
        for number in range(clients * threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(f"{clients} clients x {threads} threads, {cost} units and {latency} s per request, {seconds:.0f} s:")
    print(f"  {sum(served) / seconds:.1f} requests/s; the bucket refills for {REFILL / cost:.1f}/s")
    print(f"  {sum(refused)} refused, lowest level {lowest[0]:.0f} of 600, served by client: {served}")


def _response(status: int, text: str, remaining: float) -> httpx.Response:
    return httpx.Response(status, text=text, headers={"X-Rate-Limit-Remaining": str(remaining)}, request=REQUEST)


if __name__ == "__main__":
    main()
