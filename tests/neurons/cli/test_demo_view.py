"""The demo fits the terminal, whatever happens to its neurons."""

import time
from pathlib import Path

import pytest

from bettensor.neurons.cli.demo_subnet import Demo
from bettensor.neurons.cli.demo_view import demo_view
from bettensor.neurons.cli.demo_visitor import Offence
from tests.neurons.cli.drawing import drawn, status_of


@pytest.mark.parametrize("size", [(77, 17), (80, 24), (120, 40)])
def test_the_demo_fills_the_terminal_and_its_keys_are_the_last_line(tmp_path: Path, size: tuple[int, int]) -> None:
    demo = Demo(tmp_path, 3, 60.0)
    games = [
        {
            "game_id": str(n),
            "team_a": "A" * 30,
            "team_b": "B" * 30,
            "team_a_odds": 12.5,
            "team_b_odds": 1.1,
            "tie_odds": n,
        }
        for n in range(20)
    ]
    demo.validator.last_status = status_of(3, slates=[{"games": games}])
    demo.miners[0].websocket = False
    lines = drawn(lambda screen: demo_view(demo, 3.0, 60.0, screen), *size)
    assert len(lines) == size[1]
    assert lines[-1].rstrip().endswith("quit")
    assert any(line.startswith("▶  miner-1") for line in lines)
    assert any("▲ 12.50" in line or "12.50" in line for line in lines)


@pytest.mark.parametrize(("size", "needs"), [((20, 5), "77 columns"), ((76, 24), "77 columns"), ((77, 16), "17 lines")])
def test_where_there_is_no_room_for_the_demo_it_says_what_it_needs(
    size: tuple[int, int], needs: str, tmp_path: Path
) -> None:
    lines = drawn(lambda screen: demo_view(Demo(tmp_path, 3, 60.0), 3.0, 60.0, screen), *size)
    told = " ".join(line.strip() for line in lines)
    assert told == f"This view needs {needs}. Make the terminal larger; q ends the demo."


@pytest.mark.parametrize("width", [80, 96, 100, 110, 160])
def test_whatever_has_happened_to_a_miner_its_figures_can_be_read(width: int, tmp_path: Path) -> None:
    demo = Demo(tmp_path, 2, 60.0)
    miner = demo.miners[1]
    miner.last_status = status_of(2, latency_ms={"p50": 10.5, "p99": 123.4})
    miner.codes.update({"accepted": 1234, "conflict": 5678, None: 246})
    miner.dead_since, miner.websocket = time.monotonic(), False
    lines = drawn(lambda screen: demo_view(demo, 3.0, 60.0, screen), width, 40)
    (row,) = [line for line in lines if "miner-2" in line]
    assert all(text in row for text in (" down ", "7158", " 246 ", "1234", "5678", "10.5 ms", "123.4 ms", "killed"))


@pytest.mark.parametrize("width", [80, 160])
def test_who_was_rejected_on_purpose_is_shown(width: int, tmp_path: Path) -> None:
    demo = Demo(tmp_path, 1, 60.0)
    demo.visitor.offences += [Offence("bets late", 0.5, "game_started", "it has begun")] * 2
    (row,) = [line for line in drawn(lambda screen: demo_view(demo, 3.0, 60.0, screen), width, 40) if "visitor" in line]
    assert row.split()[-2:] == ["on", "purpose"]
    assert [word for word in row.split() if word.isdigit()] == ["2", "0", "2"]
