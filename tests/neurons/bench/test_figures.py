"""Latencies in milliseconds, by the nearest rank."""

from bettensor.neurons.bench.figures import latencies_ms


def test_of_nothing_there_are_no_percentiles() -> None:
    assert latencies_ms([]) == {}


def test_percentiles_are_in_milliseconds_whatever_order_the_seconds_come_in() -> None:
    expected = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    assert latencies_ms(number / 1000 for number in range(101)) == expected
    assert latencies_ms(number / 1000 for number in reversed(range(101))) == expected


def test_of_one_latency_all_are_that_one() -> None:
    assert latencies_ms([0.25]) == {"p50": 250, "p95": 250, "p99": 250, "max": 250}
