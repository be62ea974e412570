"""The demo as it is drawn in a terminal."""

import time
from typing import Final

from rich.columns import Columns
from rich.console import Console, Group, RenderableType

from bettensor.bus.text import counted
from bettensor.neurons.cli import views
from bettensor.neurons.cli.demo_files import VISITOR
from bettensor.neurons.cli.demo_player import VALIDATOR, Player
from bettensor.neurons.cli.demo_subnet import REVIVAL, Demo, verdicts_of
from bettensor.neurons.cli.screen import ShownText as Text

ROOMY: Final = 108
"""Columns from which on there is room for full headings, the transport and full notes on a neuron."""
LEAST: Final = 4
"""Lines that the slate and the last events need together."""
VERDICTS: Final = 32
"""Columns for the verdicts beside the slate."""


def demo_view(demo: Demo, elapsed: float, duration: float, screen: Console) -> RenderableType:
    """The whole demo, as high as the terminal, with the keys in its last line; or the size that this view needs."""
    width = screen.width
    title = Text("Bettensor", "bold")
    title.append(f"  {_who(demo)}", "not bold")
    title.append(f"   {elapsed:.0f} of {duration:.0f} s", "dim")
    keys = Text.assemble(
        (" v ", "reverse"), " kill validator  ",
        (f" 1-{len(demo.miners)} ", "reverse"), " miner: ",
        (" k ", "reverse"), " kill ",
        (" n ", "reverse"), " network ",
        (" w ", "reverse"), " WebSocket  ",
        (" q ", "reverse"), " quit",
    )  # fmt: skip
    above = Group(title, "", _neurons_table(demo, width), "")
    left = screen.height - views.lines_of(screen, above) - 4  # for a table's head, a title and the keys
    if width < keys.cell_len or left < LEAST:
        needs = f"{keys.cell_len} columns" if width < keys.cell_len else f"{screen.height - left + LEAST} lines"
        return Text(f"This view needs {needs}. Make the terminal larger; q ends the demo.")
    games = min(10, left // 2)
    counts = [
        views.moving_slate(demo.validator.last_status, demo.moved, games, width - VERDICTS),
        views.verdict_counts(verdicts_of(demo), VERDICTS - 3),
    ]
    recent = [] if demo.validator.last_status is None else demo.validator.last_status["recent"]
    lines = views.recent_lines(recent, max(1, left - games - 1))
    lines.append("\n" * (left - games - 1 - len(lines.plain.splitlines())))
    events = views.section("last events on the validator's bus", lines, width)
    return Group(above, Columns(counts, padding=(0, 3)), "", events, keys)


def _who(demo: Demo) -> str:
    miners, existing = counted(len(demo.miners), "miner"), counted(len(demo.existing), "existing miner")
    alone = f"one validator and {miners}, each in its own process"
    return f"one validator, {miners} and {existing}" if demo.existing else alone


def _neurons_table(demo: Demo, width: int) -> RenderableType:
    brief = width < ROOMY
    counts = ("made", "wait", "acc.", "rej.") if brief else ("made", "waiting", "accepted", "rejected")
    numbers = (*counts, "p50", "p99")
    table = views.plain_table("", "neuron", "state", *([] if brief else ["transport"]), *numbers, "", right=numbers)
    table.columns[2].min_width = len("not connected")
    table.columns[-1].no_wrap = False  # if there is no room, the notes wrap and the figures stay whole
    for place, player in enumerate(demo.players):
        state, transport = player.describe()
        chosen = "▶" if place == demo.chosen + 1 else ""
        how: list[RenderableType] = [views.state_text(state), *([] if brief else [transport])]
        table.add_row(chosen, player.name, *how, *_numbers(player), _note(player, brief))
    rejected = str(demo.visitor.codes.total())
    if demo.visitor.offences:  # otherwise the validator would seem to have miscounted
        row = ["", VISITOR, "", *([] if brief else ["HTTP"]), rejected, "", "0", rejected, "", ""]
        table.add_row(*row, Text("on purpose" if brief else "breaks rules on purpose", "dim"))
    return table


def _numbers(player: Player) -> list[str]:
    status = player.last_status
    if status is None:
        return [""] * 6
    latency, verdicts = status["latency_ms"], player.judged()
    accepted = verdicts["accepted"]
    own = ["", ""] if player.name == VALIDATOR else [str(player.codes.total()), str(player.codes[None])]
    times = ["", ""] if latency is None else [views.milliseconds(latency[p]) for p in ("p50", "p99")]
    return [*own, str(accepted), str(verdicts.total() - accepted), *times]


def _note(player: Player, brief: bool) -> Text:
    notes = []
    if player.dead_since is not None:
        back = max(0.0, REVIVAL - (time.monotonic() - player.dead_since))
        notes.append("killed" if brief else f"killed, back in {back:.0f} s")
    if player.wire is not None and player.wire.cut:
        notes.append("cut" if brief else "network cut")
    if not player.websocket:
        notes.append("no WS" if brief else "WebSocket off")
    return Text(", ".join(notes), "bold red")
