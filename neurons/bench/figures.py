"""The figures of a measurement, and the percentiles of its latencies."""

from collections.abc import Iterable
from typing import Any

from bettensor.bus.percentiles import percentile

Figures = dict[str, Any]
"""Measured values, under names that include their unit; a value may be figures again."""


def latencies_ms(seconds: Iterable[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile and maximum, in milliseconds; empty if there are no latencies."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    points = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: 1000 * percentile(ordered, share) for name, share in points.items()}
