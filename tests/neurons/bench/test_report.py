"""Results of benchmarks: whole, readable, and comparable with each other."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.bench.report import HEAD, compare, flat, read, result, table, text, title
from bettensor.neurons.bench.scenarios import Bar, Scenario, Variant

BARS = (Bar("rate_per_second", "at least", 100.0), Bar("latency_ms.p99", "at most", 5.0))
VARIANT = Variant({"miners": 3, "stalled": True, "verify_workers": 2}, BARS)
SCENARIO = Scenario("made_up", "nothing", lambda **_: {}, (VARIANT,))
FIGURES = {"rate_per_second": 150.0, "latency_ms": {"p99": 7.0}, "memory": [{"bytes": 2048}, {"bytes": 4096}]}


def measured(**changes: Any) -> dict[str, Any]:
    return result(SCENARIO, VARIANT, FIGURES) | changes


def printed(*shown: Any) -> str:
    out = StringIO()
    Console(file=out, width=200).print(*shown)
    return out.getvalue()


def test_a_result_says_what_was_measured_how_and_where() -> None:
    whole = measured()
    assert set(whole) == {*HEAD, *FIGURES}
    assert [bar["met"] for bar in whole["bars"]] == [True, False]
    assert {"python", "sqlite", "bettensor", "uvicorn"} <= set(whole["versions"])
    assert whole["machine"]["cores"] >= 1
    assert json.loads(json.dumps(whole)) == whole


def test_its_title_is_what_stands_on_the_command_line() -> None:
    assert title(measured()) == "made_up --miners 3 --stalled --verify-workers 2"


def test_every_figure_has_a_name_however_deep_it_lies() -> None:
    assert list(flat(FIGURES)) == [
        ("rate_per_second", 150.0),
        ("latency_ms.p99", 7.0),
        ("memory.0.bytes", 2048),
        ("memory.1.bytes", 4096),
    ]
    assert list(flat({"answers": ["a", "b"], "none": []})) == [("answers", ["a", "b"]), ("none", [])]


def test_a_table_shows_each_figure_and_whether_its_bar_is_met() -> None:
    lines = {line.split()[0]: line for line in printed(table(measured())).splitlines() if line.strip()}
    assert "150/s" in lines["rate_per_second"]
    assert "at least 100/s: met" in lines["rate_per_second"]
    assert "at most 5 ms: missed" in lines["latency_ms.p99"]
    assert "4.0 KiB" in lines["memory.1.bytes"]
    assert not any(name in lines for name in HEAD)


def test_without_bars_there_is_no_column_for_them() -> None:
    assert "to be" not in printed(table(measured(bars=[])))


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("x", 0, "0"), ("x", 1234567, "1,234,567"), ("x", 0.000123456, "0.000123"), ("x", None, "None"), ("x", [], "")],
)
def test_a_figure_without_a_unit_is_shown_as_it_is(name: str, value: Any, shown: str) -> None:
    assert text(name, value) == shown


# --- what is read again, and compared


def test_one_result_and_a_list_of_them_are_read_alike(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(measured()))
    one = read(file)
    file.write_text(json.dumps([measured()]))
    assert one[0].keys() == read(file)[0].keys()
    assert len(one) == len(read(file)) == 1


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "Expecting value"),
        ("{", "Expecting"),
        ("7", "is not what bettensor bench --json prints"),
        ('{"scenario": "confirm"}', "is not what"),
        ("[3]", "is not what"),
        ('{"scenario": [], "parameters": {}}', "is not what"),
        ('{"scenario": "confirm", "parameters": 5}', "is not what"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, content: str, fault: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=fault):
        read(file)
    with pytest.raises(ConfigurationError, match="there is no such file"):
        read(tmp_path / "absent")


def compared(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> str:
    out = StringIO()
    compare(before, after, Console(file=out, width=300))
    return out.getvalue()


def test_what_changed_is_shown_in_percent_of_what_was() -> None:
    shown = compared([measured()], [measured(rate_per_second=75.0)])
    (line,) = (line for line in shown.splitlines() if "rate_per_second" in line)
    assert line.split() == ["rate_per_second", "150/s", "75/s", "-50.0%"]
    assert "not the same" not in shown


def test_of_nothing_there_is_no_percentage() -> None:
    shown = compared([measured(rate_per_second=0)], [measured(rate_per_second=75.0)])
    (line,) = (line for line in shown.splitlines() if "rate_per_second" in line)
    assert line.split() == ["rate_per_second", "0/s", "75/s"]


def test_runs_with_other_parameters_are_other_runs() -> None:
    other = measured(parameters={"miners": 4})
    shown = compared([measured(), other], [measured()])
    assert "only in the first: made_up --miners 4" in shown
    with pytest.raises(ConfigurationError, match="no run in common"):
        compared([measured()], [other])


def test_another_machine_or_other_versions_are_named() -> None:
    shown = compared([measured()], [measured(machine={"cores": 99}, versions={"python": "4"})])
    assert "not the same machine: " in shown
    assert "not the same versions: " in shown


def test_no_word_of_a_file_is_markup_or_moves_a_cursor() -> None:
    odd = "5[/x]\x1b[2J\x9b"
    shown = compared(
        [measured(scenario=odd, machine={odd: 1}) | {odd: 1}, measured(scenario=f"{odd}2")],
        [measured(scenario=odd, machine={}) | {odd: 2}],
    )
    assert "5[/x]" in shown
    assert not {"\x1b", "\x9b"} & set(shown)
