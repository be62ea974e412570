"""Results of benchmarks: with their machine, as a table, as JSON, and side by side."""

import os
import platform
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.bench.figures import Figures
from bettensor.neurons.bench.scenarios import Scenario, Variant, flag
from bettensor.neurons.cli.screen import ShownText
from bettensor.neurons.config.documents import read_json

PACKAGES: Final = ("bettensor", "bittensor", "bittensor-core", "uvicorn", "websockets", "uvloop", "msgspec", "pyee")

Result = dict[str, Any]
"""The figures of one run, and beside them ``scenario``, ``parameters``, ``bars``, ``versions``, ``machine``, ``at``."""
HEAD: Final = ("scenario", "parameters", "bars", "versions", "machine", "at")


def result(scenario: Scenario, variant: Variant, figures: Figures) -> Result:
    """The complete result of one run."""
    bars = [bar._asdict() | {"met": bar.is_met(figures)} for bar in variant.bars]
    return {
        "scenario": scenario.name,
        "parameters": dict(variant.parameters),
        **figures,
        "bars": bars,
        "versions": {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, **_packages()},
        "machine": machine(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def machine() -> dict[str, Any]:
    """This machine, without its name."""
    return {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "system": platform.platform()}


def table(result: Result) -> Table:
    """The figures of one run, one a line, with their bars."""
    bars = {bar["figure"]: bar for bar in result["bars"]}
    shown = Table(title=title(result), title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    shown.add_column("figure")
    shown.add_column("value", justify="right")
    if bars:
        shown.add_column("to be")
    for name, value in flat({name: value for name, value in result.items() if name not in HEAD}):
        bar = bars.get(name)
        wanted = ""
        if bar is not None:
            met = "[green]met[/]" if bar["met"] else "[red]missed[/]"
            wanted = f"{bar['side']} {text(name, bar['bound'])}: {met}"
        shown.add_row(name, text(name, value), *([wanted] if bars else []))
    return shown


def title(result: Result) -> str:
    """The scenario and its parameters, as on the command line."""
    words = [result["scenario"]]
    for name, value in result["parameters"].items():
        words += [flag(name)] if value is True else [flag(name), str(value)]
    return " ".join(words)


def flat(figures: Figures, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every figure by its dotted name."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, item in enumerate(value):
                yield from flat(item, f"{prefix}{name}.{number}.")
        else:
            yield f"{prefix}{name}", value


def text(name: str, value: Any) -> str:
    """A figure with its unit, which follows from its name."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if "bytes" in name:
        return f"{value / 2**20:,.1f} MiB" if value >= 2**20 else f"{value / 2**10:,.1f} KiB"
    if "share" in name or name in ("cost", "cost_of_all", "memory_growth"):
        return f"{value:.1%}"
    parts = name.split(".")
    unit = next((unit for end, unit in _UNITS if any(f"{part}_per_".find(f"{end}_per_") >= 0 for part in parts)), "")
    return (f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:,.3g}") + unit


_UNITS: Final = (
    ("per_second", "/s"),
    ("_ms", " ms"),
    ("_us", " us"),
    ("seconds", " s"),
    ("_s", " s"),
)
"""Units by the end of a name, or by the counted noun before ``per``."""


def read(file: Path) -> list[Result]:
    """The results that ``--json`` printed into ``file``.

    Raises:
        ConfigurationError: the file cannot be read, or has other content.
    """
    try:
        content = read_json(file)
    except ConfigurationError as error:
        raise ConfigurationError(f"bench --compare: {error}") from None
    results = content if isinstance(content, list) else [content]
    if not all(map(_is_result, results)):
        raise ConfigurationError(f"bench --compare: {file} is not what bettensor bench --json prints")
    return results


def _is_result(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("scenario"), str) and isinstance(one.get("parameters"), dict)


def compare(before: Sequence[Result], after: Sequence[Result], console: Console) -> None:
    """Print the figures of both side by side, and the names of figures that only one has.

    Raises:
        ConfigurationError: they have no figure in common.
    """
    old, new = ({title(one): one for one in results} for results in (before, after))
    both = [name for name in old if name in new]
    if not both:
        raise ConfigurationError("bench --compare: the two files have no run in common")
    for name in both:
        console.print(_differences(name, old[name], new[name]), "")
    for only, other in ((old, new), (new, old)):
        missing = [name for name in only if name not in other]
        if missing:
            console.print(ShownText(f"only in the {'first' if only is old else 'second'}: {'; '.join(missing)}"))
    for what in ("machine", "versions"):
        first, second = old[both[0]].get(what), new[both[0]].get(what)
        if first != second:
            console.print(ShownText.assemble((f"not the same {what}:", "yellow"), f" {first} and {second}"))


def _differences(name: str, before: Result, after: Result) -> Table:
    shown = Table(title=ShownText(name), title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for heading in ("figure", "before", "after", "change"):
        shown.add_column(heading, justify="left" if heading == "figure" else "right")
    old = dict(flat({name: value for name, value in before.items() if name not in HEAD}))
    for figure, value in flat({name: value for name, value in after.items() if name not in HEAD}):
        was = old.get(figure)
        if isinstance(value, int | float) and isinstance(was, int | float):
            change = f"{value / was - 1:+.1%}" if was else ""
            shown.add_row(ShownText(figure), text(figure, was), text(figure, value), change)
    return shown


def _packages() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
