"""The scenarios of ``bettensor bench``, their parameters, and the bars for their figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, NamedTuple

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.bench.broadcast import broadcast
from bettensor.neurons.bench.confirm import Load, confirm, growth, recording, replay
from bettensor.neurons.bench.events import bus
from bettensor.neurons.bench.fallback import fallback
from bettensor.neurons.bench.figures import Figures
from bettensor.neurons.bench.ledger import ledger
from bettensor.neurons.bench.sessions import idle, opening, storm
from bettensor.neurons.bench.start import start

Parameters = Mapping[str, Any]


class Bar(NamedTuple):
    """A limit for a figure."""

    figure: str
    """The figure's name; a nested one has a dot."""
    side: Literal["at least", "at most"]
    bound: float

    def value(self, figures: Figures) -> float:
        """The figure's value."""
        value: Any = figures
        for name in self.figure.split("."):
            value = value[name]
        return float(value)

    def is_met(self, figures: Figures) -> bool:
        """Whether the figure meets the bar."""
        value = self.value(figures)
        return value >= self.bound if self.side == "at least" else value <= self.bound


class Variant(NamedTuple):
    """The parameters of one run of a scenario, and its bars."""

    parameters: Parameters
    bars: tuple[Bar, ...] = ()

    @property
    def connections(self) -> int:
        """Connections that one process has open at once, as far as the parameters say."""
        return sum(self.parameters.get(name, 0) for name in ("miners", "clients", "bystanders"))


@dataclass(frozen=True)
class Scenario:
    """One kind of measurement."""

    name: str
    what: str
    run: Callable[..., Figures]
    variants: tuple[Variant, ...]
    """Each is run by default; if parameters are given, only the first, with the given ones in place of its own."""
    more: tuple[str, ...] = ()
    """Parameters that it accepts besides those of its variants."""

    def chosen(self, given: Parameters) -> tuple[Variant, ...]:
        """The variants to run.

        Raises:
            ConfigurationError: the scenario has no such parameter.
        """
        known = (*self.variants[0].parameters, *self.more)
        for name in given:
            if name not in known:
                has = f"it has {', '.join(map(flag, known))}" if known else "it has no parameters"
                raise ConfigurationError(f"bench {self.name}: there is no {flag(name)}; {has}")
        return (Variant({**self.variants[0].parameters, **given}),) if given else self.variants


def flag(name: str) -> str:
    """The flag of a parameter on the command line."""
    return f"--{name.replace('_', '-')}"


_LOAD: Final = tuple(field.name for field in fields(Load))


def _at_least(figure: str, bound: float) -> Bar:
    return Bar(figure, "at least", bound)


def _at_most(figure: str, bound: float) -> Bar:
    return Bar(figure, "at most", bound)


_OF_THE_LIMIT: Final = "ratio_to_verify_sign_limit"

SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "confirm",
            "predictions from the push to the signed confirmation, one in a frame",
            lambda **given: confirm(Load(**given)),
            (
                Variant({"miners": 50, "window": 8, "duration": 5.0}, (_at_least(_OF_THE_LIMIT, 0.5),)),
                Variant(
                    {"miners": 256, "window": 1, "duration": 5.0},
                    (_at_least(_OF_THE_LIMIT, 0.3), _at_most("latency_ms.p99", 120)),
                ),
                Variant({"miners": 256, "rate": 1000.0, "duration": 5.0}, (_at_most("latency_ms.p99", 10),)),
                Variant(
                    {"miners": 1, "window": 1, "duration": 5.0},
                    (_at_most("latency_ms.p50", 1.5), _at_most("latency_ms.p99", 6)),
                ),
            ),
            _LOAD,
        ),
        Scenario(
            "batch",
            "the same with ten predictions in a frame",
            lambda **given: confirm(Load(**given)),
            (
                Variant(
                    {"miners": 50, "window": 8, "batch": 10, "duration": 5.0},
                    (_at_least("predictions_per_second", 20_000),),
                ),
            ),
            _LOAD,
        ),
        Scenario(
            "broadcast",
            "one update of 4 KiB to all miners, as text and compressed",
            broadcast,
            tuple(
                Variant(
                    {"miners": miners}, (_at_most("ratio_to_bare_broadcast", 1.5), _at_most("ratio_packed_cpu", 1.1))
                )
                for miners in (256, 2000)
            ),
        ),
        Scenario(
            "connect",
            "authenticated handshakes, with welcome and slate",
            opening,
            (Variant({"miners": 2000}, (_at_least("handshakes_per_second", 700),)),),
        ),
        Scenario(
            "idle",
            "connections that only are there",
            idle,
            (
                Variant(
                    {"miners": 4000, "duration": 30.0},
                    (_at_most("bytes_per_connection", 25 * 1024), _at_most("idle_cpu_share", 0.02)),
                ),
            ),
        ),
        Scenario(
            "storm",
            "all miners return after a restart",
            storm,
            (
                Variant(
                    {"miners": 1000},
                    (
                        _at_most("served_after_window_s", 5),
                        _at_most("refused", 0),
                        _at_most("missed_heartbeats", 0),
                    ),
                ),
            ),
        ),
        Scenario(
            "fallback",
            "predictions by POST /predictions",
            fallback,
            (
                Variant(
                    {"clients": 50, "batch": 1, "duration": 4.0},
                    (_at_least("predictions_per_second", 2_000), _at_most("failed", 0)),
                ),
            ),
        ),
        Scenario(
            "bus",
            "events to three handlers, and the budget of one prediction",
            lambda **given: bus(Load(**given)),
            (
                Variant(
                    {"miners": 50, "window": 8, "duration": 5.0},
                    (_at_least("events_per_second", 150_000), _at_most("bus_and_actors_share", 0.3)),
                ),
            ),
            _LOAD,
        ),
        Scenario(
            "ledger",
            "verdicts stored by the ledger alone, when it is new and when it is long",
            ledger,
            (Variant({"rows": 1_000_000}),),
        ),
        Scenario(
            "recording",
            "what the log of observed events costs",
            lambda **given: recording(Load(**given)),
            (Variant({"miners": 50, "window": 8, "duration": 4.0}, (_at_most("cost", 0.1),)),),
            ("batch",),
        ),
        Scenario(
            "replay",
            "a log of all events decided again",
            replay,
            (Variant({"events": 1_000_000}, (_at_least("events_per_second", 50_000),)),),
        ),
        Scenario(
            "growth",
            "CPU with more miners and with a long ledger, memory over many predictions",
            growth,
            (
                Variant(
                    {"rows": 1_000_000, "predictions": 2_000_000, "duration": 5.0},
                    (
                        _at_most("ratio_of_miners", 1.3),
                        _at_most("ratio_of_rows", 1.2),
                        _at_most("memory_growth", 0.05),
                    ),
                ),
            ),
            ("miners",),
        ),
        Scenario(
            "start",
            "from a command until it is there",
            start,
            (
                Variant(
                    {},
                    (
                        _at_most("help_seconds", 0.3),
                        _at_most("validator_listening_seconds", 2),
                        _at_most("miner_connected_seconds", 2),
                    ),
                ),
            ),
        ),
    )
}
"""The scenarios by name, in the order in which they are run."""


def find(names: list[str]) -> list[Scenario]:
    """The scenarios with these names; all if there are none.

    Raises:
        ConfigurationError: there is no such scenario.
    """
    for name in names:
        if name not in SCENARIOS:
            raise ConfigurationError(f"bench: there is no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    return [SCENARIOS[name] for name in names or SCENARIOS]
