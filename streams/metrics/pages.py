"""What the port says under each path."""

from streams.metrics.figures import Facts
from streams.metrics.health import Health, alive, ready
from streams.metrics.meter import Meter
from streams.metrics.server import Page, Pages

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def pages(meter: Meter, facts: Facts, turn_s: float) -> Pages:
    """Return the pages of one worker: `/metrics`, `/livez` and `/readyz`.

    Args:
        meter: what is counted.
        facts: who is counted.
        turn_s: how long a turn may take before the worker counts as dead.
    """

    def metrics() -> Page:
        from streams.metrics.exposition import text  # a worker that starts again does not wait for this

        return Page(200, text(meter.moment(), facts), PROMETHEUS)

    return {
        "/metrics": metrics,
        "/livez": lambda: _probe(alive(meter.moment(), turn_s)),
        "/readyz": lambda: _probe(ready(meter.moment().figures)),
    }


def _probe(health: Health) -> Page:
    return Page(200 if health.well else 503, f"{health.why}\n".encode())
