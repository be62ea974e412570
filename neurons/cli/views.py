"""What operators see in a terminal: tables and live views of a running neuron's status, drawn by rich."""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.layout import Layout
from rich.live import Live
from rich.rule import Rule
from rich.table import Table

from bettensor.actors.cures import UNREGISTERED
from bettensor.bus.text import counted, duration, printable, short, shortened
from bettensor.neurons.cli.screen import Screen
from bettensor.neurons.cli.screen import ShownText as Text

Status = dict[str, Any]

STYLES: Final = {
    "connected": "green",
    "online": "green",
    "by HTTP": "yellow",
    "by Synapse": "cyan",
    "speaks Synapse": "cyan",
    "degraded": "yellow",
    "not connected": "red",
    "offline": "red",
    "down": "bold red",
}
"""Colours of states; a state that is not listed has none."""
WIDE: Final = 10_000
"""Columns if there is no terminal: whatever is written there is whole, and one row is one line."""
PAGE: Final = 100
"""Columns of rules and sections if there is no terminal."""
ROOM: Final = 20
"""Lines for the last events if there is no terminal."""
FEW_EVENTS: Final = 4
"""Lines of the last events, with their title, for which the counts give way."""
FULL: Final = 96
"""Columns from which on headings are not abbreviated."""
GAMES: Final = 142
"""Columns from which on a game takes one line; below, its id has a line of its own."""
FIGURES: Final = 56
"""Columns of all that stands before the folder of a running neuron."""
GAP: Final = 2
"""Columns between two columns of a table."""
MANY_WAITING: Final = 100
"""Events that wait for a handler, from which on this is shown as a trouble."""
MANY_FAULTS: Final = 5
"""Faults of one file that are shown."""
HANGING: Final = 10.0
"""Seconds that a handler has worked on one event, from which on this is shown as a trouble."""
OVER: Final = 3600
"""Seconds after which a fault that did not come again is no longer shown."""
OLD_METAGRAPH: Final = 600
"""Seconds of age after which a metagraph is shown as a warning."""
REFRESH: Final = 4
"""Redraws a second."""


def console() -> Console:
    """The console of standard output; colours only on a terminal, and never with ``NO_COLOR``."""
    return Screen() if sys.stdout.isatty() else Screen(width=WIDE)


def shown(text: str) -> str:
    """Text for standard output: on a terminal with short addresses."""
    return shortened(text) if sys.stdout.isatty() else text


def fitted(text: str, width: int) -> str:
    """A line of a terminal of so many columns: with short addresses, and cut off where the terminal ends."""
    line = shortened(text)
    return line if cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…"


def milliseconds(latency: float | None) -> str:
    """``4.2 ms`` or, from one second on, ``1.5 s``; an empty text for None."""
    if latency is None:
        return ""
    return f"{latency:.1f} ms" if latency < 1000 else duration(latency / 1000)


def state_text(state: str) -> Text:
    """A state in its colour."""
    return said(state, STYLES.get(state, "dim"))


def said(text: str, style: str = "") -> Text:
    """A peer's words on one line: with all that is not printed escaped."""
    return Text(printable(text), style)


def plain_table(*headings: str, right: Sequence[str] = (), whole: Sequence[str] = ()) -> Table:
    """A table in the style of all views.

    Args:
        headings: one per column.
        right: columns of numbers, aligned to the right.
        whole: columns whose text wraps if there is no room; all others are cut off with an ellipsis.
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True, header_style="bold")
    for heading in headings:
        side: Literal["left", "right"] = "right" if heading in right else "left"
        overflow: Literal["fold", "ellipsis"] = "fold" if heading in whole else "ellipsis"
        table.add_column(heading, justify=side, no_wrap=heading not in whole, overflow=overflow)
    return table


def section(title: str, body: RenderableType, width: int, style: str = "dim") -> RenderableType:
    """A part of a view under its title."""
    return Group(Constrain(Rule(Text(title, "bold"), align="left", style=style), width), body)


def neurons_table(running: Sequence[tuple[Path, Status]], width: int) -> Table:
    """The running neurons of this user: their folders and statuses. Long folders displace the last figures."""
    folders = [nearest(state_dir) for state_dir, _ in running]
    brief = max(map(len, folders)) > width - FIGURES
    numbers = ("UID", "netuid") if brief else ("UID", "netuid", "sessions", "up")
    table = plain_table("neuron", "UID", "hotkey", *numbers[1:], "state_dir", right=numbers, whole=("state_dir",))
    for folder, (_, status) in zip(folders, running, strict=True):
        figures = (str(status["netuid"]), str(status["sessions"]), duration(status["uptime_s"]))
        uid, hotkey = uid_text(status["uid"]), shown_hotkey(status["hotkey"], width)
        table.add_row(status["role"], uid, hotkey, *figures[: len(numbers) - 1], folder)
    return table


def shown_hotkey(hotkey: str, width: int) -> str:
    """An address in a view of so many columns: short on a terminal, whole in a pipe or a file."""
    return printable(short(hotkey) if width < WIDE else hotkey)


def uid_text(uid: int | None) -> str:
    """A UID in a table; ``-`` for a neuron that is not registered."""
    return "-" if uid is None else str(uid)


def nearest(path: Path) -> str:
    """The shortest name of ``path`` in this shell: absolute, below the home folder, or below the working directory."""
    names = [str(path)]
    if path.is_relative_to(Path.home()):
        names.append(str("~" / path.relative_to(Path.home())))
    if path.is_relative_to(Path.cwd()):
        names.append(str(path.relative_to(Path.cwd())))
    return min(names, key=len)


def peers_table(status: Status, width: int, room: int | None = None) -> RenderableType:
    """The peers; below them, if a peer is not connected, the reason and the cure.

    Args:
        status: the neuron's.
        width: columns available.
        room: lines available, about; None for no limit.
    """
    counts = ("accepted", "rejected") if width >= FULL else ("acc.", "rej.")
    heard = "last message" if width >= FULL else "last msg"
    numbers = ("UID", "for", heard, "latency", "offset", *counts)
    table = plain_table("UID", "hotkey", "state", *numbers[1:], right=numbers)
    peers = sorted(status["peers"], key=_rank)
    troubled = [peer for peer in peers if peer["trouble"]]
    troubled += [peer for peer in peers if not peer["trouble"] and _asked(peer)]  # is told where there is room for it
    if room is not None:
        troubled = troubled[: max(1, room // 4)]
        peers = peers[: max(2, room - 3 - 2 * len(troubled))]
    for peer in peers:
        table.add_row(
            uid_text(peer["uid"]),
            shown_hotkey(peer["hotkey"], width),
            state_text(peer["state"]).append(" TLS" if peer.get("tls") else ""),  # an earlier release does not tell
            duration(peer["since_s"]),
            duration(peer["heard_s"]),
            milliseconds(peer["latency_ms"]),
            "" if peer["offset"] is None else str(peer["offset"]),
            str(peer["accepted"]),
            str(peer["rejected"]),
        )
    away = Table.grid(padding=(0, 1))  # a long reason wraps within its own column
    for peer in troubled:
        away.add_row(
            Text(f"{uid_text(peer['uid']):>3} {shown_hotkey(peer['hotkey'], width)}", no_wrap=True), _trouble(peer)
        )
    if any(peer["state"] == "not seen" for peer in peers) and status["role"] == "validator":
        why = "not seen: the miner has never reached this validator; its own `bettensor peers` says why"
        away.add_row("  -", Text(why, "dim"))
    if len(peers) < len(status["peers"]):
        away.add_row("  -", Text(f"and {len(status['peers']) - len(peers)} more: `bettensor peers` shows all", "dim"))
    return Group(table, away) if away.row_count else table


def _asked(peer: Status) -> str:
    """What a peer without a session that asks us over Synapse is; an empty text for any other."""
    asks = peer["state"] in ("by Synapse", "speaks Synapse") and peer.get("asked_s") is not None
    return f"speaks Synapse (asked us {duration(peer['asked_s'])} ago)" if asks else ""


def _trouble(peer: Status) -> Text:
    if not peer["trouble"]:
        return Text(_asked(peer), "dim")
    text = Text.assemble(said(peer["trouble"], "red"))
    text.append(f" ({duration(peer['trouble_s'])} ago)", "dim")
    if peer["tries_in_s"] is not None:
        text.append(f", next try in {duration(peer['tries_in_s'])}", "dim")
    if peer["cure"]:
        text.append(f"\n→ {printable(peer['cure'])}", "cyan")
    return text


def _rank(peer: Status) -> tuple[int, int]:
    order = ["connected", "by HTTP", "by Synapse", "speaks Synapse", "not connected", "not seen", peer["state"]]
    return order.index(peer["state"]), 65536 if peer["uid"] is None else peer["uid"]


def games_table(slate: Status, width: int, limit: int | None = None) -> RenderableType:
    """The next games of one slate, the soonest first; ids in full, because `bettensor predict` wants them.

    In a narrow terminal each id is a line of its own, which may be longer than the terminal: print it without cropping.
    """
    games = sorted(slate["games"], key=lambda game: str(game["event_start_date"]))[:limit]
    if width < GAMES:
        return _narrow_games(games, width)
    odds = ("home odds", "away odds", "tie odds")
    table = plain_table("game", "home", "away", *odds, "starts (UTC)", right=odds, whole=("game",))
    for game in games:
        table.add_row(said(game["game_id"]), said(game["team_a"]), said(game["team_b"]), *_terms(game))
    return table


def _narrow_games(games: Sequence[Status], width: int) -> RenderableType:
    odds = ("home\nodds", "away\nodds", "tie")
    headings = ("home - away\ngame", *odds, "starts (UTC)")
    terms = [_terms(game) for game in games]
    sizes = [max(map(len, column)) for column in zip(("odds", "odds", "tie", "starts (UTC)"), *terms, strict=True)]
    sizes.insert(0, max(len("home - away"), width - sum(sizes) - GAP * len(sizes)))
    parts: list[RenderableType] = []
    for game, figures in zip(games, terms, strict=True):
        table = plain_table(*headings, right=odds, whole=headings[:1])
        table.show_header = not parts
        for column, size in zip(table.columns, sizes, strict=True):
            column.width = size
        table.add_row(Text.assemble(said(game["team_a"]), " - ", said(game["team_b"])), *figures)
        name = said(game["game_id"])
        name.no_wrap, name.overflow = True, "ignore"
        parts += [table, name]
    return Group(*parts)


def _terms(game: Status) -> tuple[str, ...]:
    """The odds of a game, and its start."""
    tie = game["tie_odds"]
    odds = (f"{game['team_a_odds']:.2f}", f"{game['team_b_odds']:.2f}", "" if tie is None else f"{tie:.2f}")
    return *odds, str(game["event_start_date"])[:16].replace("T", " ")


def moving_slate(status: Status | None, moved: dict[str, float], limit: int, width: int) -> Table:
    """The first games of a validator's slate, and how their odds last moved."""
    table = plain_table("game, odds of:", "home", "away", "tie", right=("home", "away", "tie"))
    table.columns[0].width = min(44, width - 26)  # fixed, so that moving odds do not move the columns
    for column in table.columns[1:]:
        column.min_width = 5
    table.columns[1].min_width = 7
    games = [game for slate in ([] if status is None else status["slates"]) for game in slate["games"]]
    for game in sorted(games, key=lambda game: -abs(moved.get(game["game_id"], 0)))[:limit]:
        change = moved.get(game["game_id"], 0)
        arrow = Text("▲", "green") if change > 0 else Text("▼", "red") if change < 0 else Text(" ")
        tie = game["tie_odds"]
        table.add_row(
            said(f"{game['team_a']} - {game['team_b']}"),
            Text.assemble(arrow, f" {game['team_a_odds']:.2f}"),
            f"{game['team_b_odds']:.2f}",
            "" if tie is None else f"{tie:.2f}",
        )
    return table


def verdict_counts(verdicts: Mapping[str, int], width: int) -> Table:
    """The number of predictions by verdict."""
    table = plain_table("verdict", "count", right=("count",))
    table.min_width = width
    for code, count in sorted(verdicts.items(), key=lambda item: -item[1]):
        table.add_row(said(code, "green" if code == "accepted" else "yellow"), str(count))
    return table


def verdicts_table(status: Status) -> Table:
    """The number of predictions by verdict, with those that wait and those that were repeated."""
    predictions = status["predictions"]
    table = plain_table("verdict", "count", right=("count",))
    if status["role"] == "miner":
        table.add_row("waiting", str(predictions["waiting"]))
    for code, count in predictions["verdicts"].items():
        table.add_row(said(code, "green" if code == "accepted" else "yellow"), str(count))
    if predictions["repeated"]:
        table.add_row("repeated", str(predictions["repeated"]))
    return table


def events_table(status: Status, before: Status | None, seconds: float, limit: int = 8) -> Table:
    """The most frequent events on the bus, with their number and rate."""
    table = plain_table("event", "total", "/s", right=("total", "/s"))
    counts = sorted(status["events"].items(), key=lambda item: (item[0] in _LAST, -item[1]))
    for topic, count in counts[:limit]:
        rate = "" if before is None else f"{(count - before['events'].get(topic, 0)) / seconds:.0f}"
        table.add_row(said(topic), str(count), rate)
    return table


_LAST: Final = (
    "line_logged",
    "status_reported",
    "status_requested",
    "timer_cancelled",
    "timer_fired",
    "timer_requested",
)
"""Events that tell an operator least; they are listed last."""


def recent_lines(recent: Sequence[Status], limit: int) -> Text:
    """The last events on the bus, the newest last; consecutive events of one topic share a line."""
    lines = Text(no_wrap=True, overflow="ellipsis")
    for of_one_topic in [list(group) for _, group in groupby(recent, itemgetter("topic"))][-limit:]:
        event = of_one_topic[-1]
        at = datetime.fromtimestamp(event["at"] / 1e6, UTC)
        times = f" x{len(of_one_topic)}" if len(of_one_topic) > 1 else ""
        lines.append(f"{at:%H:%M:%S}.{at.microsecond // 1000:03} ", "dim")
        lines.append(f"{printable(event['topic']) + times:<26} ", "cyan")
        lines.append_text(said(event["text"])).append("\n")
    lines.rstrip()
    return lines


def history_table(found: Sequence[Status], width: int, peer: str = "peer") -> RenderableType:
    """Verdicts of a ledger or an outbox, one a line; what does not fit is cut off, or left out and named below.

    Args:
        found: the verdicts, with ``COLUMNS`` of ``history.py``.
        width: columns available.
        peer: the role of the peers.
    """
    columns = _history_columns(found, width, peer)
    missing: list[str] = []
    for name in _DISPENSABLE:
        if name in columns and _width(columns, least=True) > width:
            del columns[name]
            missing.insert(0, name)
    widths = _fitted_widths(columns, width)
    table = plain_table(*columns, right=("wager",))
    for column, size in zip(table.columns, widths, strict=True):
        column.width = size
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    days = sorted({str(verdict["at"])[:10] for verdict in found})
    caption = counted(len(found), "prediction") + (f", {_span(days)}" if days else "")
    if missing:
        named = " and ".join([", ".join(missing[:-1]), missing[-1]] if len(missing) > 1 else missing)
        caption += f"; {named}: in a wider terminal, or with --json"
    return Group(table, Text(caption, "dim"))


_DISPENSABLE: Final = ("reason", "game", "proof")
"""Columns that are left out, in this order, if the terminal is too narrow."""
_LEAST: Final = {"game": 20, "outcome": 8, "wager": 8, "reason": 16}
"""Columns whose text may be cut off, and the characters that remain at least."""


def _history_columns(found: Sequence[Status], width: int, peer: str) -> dict[str, list[Text]]:
    """Every column, in full if there is room; otherwise with short ids and, within one year, dates without it."""

    def told(code: str) -> Text:
        return said(code, "green" if code == "accepted" else "dim" if code == "none" else "yellow")

    times = [str(verdict["at"])[:19].replace("T", " ") for verdict in found]
    columns = {
        "time (UTC)": [Text(time) for time in times],
        peer: [Text(shown_hotkey(verdict["peer"], width)) for verdict in found],
        "prediction": [said(verdict["prediction_id"]) for verdict in found],
        "game": [said(str(verdict["game_id"])) for verdict in found],
        "outcome": [said(str(verdict["outcome"])) for verdict in found],
        "wager": [said(str(verdict["wager"])) for verdict in found],
        "verdict": [told(verdict["code"]) for verdict in found],
        "proof": [said(verdict["proof"] or "") for verdict in found],
        "reason": [said(verdict["message"]) for verdict in found],
    }
    if all(verdict["proof"] in (None, "signature") for verdict in found):
        del columns["proof"]
    if _width(columns) > width:
        columns["prediction"] = [said(short_id(verdict["prediction_id"])) for verdict in found]
    if width < FULL and len({time[:4] for time in times}) == 1:
        columns["time (UTC)"] = [Text(time[5:]) for time in times]
    if not any(columns["reason"]) and width < WIDE:
        del columns["reason"]
    return columns


def short_id(prediction_id: str) -> str:
    """The beginning of a long id, which `bettensor trace` takes."""
    return prediction_id if len(prediction_id) <= 12 else f"{prediction_id[:8]}…"


def _natural(name: str, cells: Sequence[Text]) -> int:
    return max(len(name), *(cell.cell_len for cell in cells)) if cells else len(name)


def _width(columns: Mapping[str, Sequence[Text]], *, least: bool = False) -> int:
    """Of a table of these columns; ``least``: if those are cut off that may be."""
    widths = {name: _natural(name, cells) for name, cells in columns.items()}
    if least:
        widths = {name: min(width, _LEAST.get(name, width)) for name, width in widths.items()}
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _fitted_widths(columns: Mapping[str, Sequence[Text]], width: int) -> list[int]:
    """Of each column: the flexible ones share the room that the others leave, the shortest first."""
    widths = {name: _natural(name, cells) for name, cells in columns.items()}
    flexible = sorted((name for name in widths if name in _LEAST), key=lambda name: widths[name])
    room = width - GAP * (len(widths) - 1) - sum(size for name, size in widths.items() if name not in _LEAST)
    for left, name in zip(range(len(flexible), 0, -1), flexible, strict=True):
        widths[name] = max(len(name), min(widths[name], room // left))
        room -= widths[name]
    return list(widths.values())


def _span(days: Sequence[str]) -> str:
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def headline(status: Status, width: int) -> Text:
    """The neuron: role, hotkey, health, uptime, sessions, latency and metagraph; in one line if there is room."""
    uid = "UID unknown" if status["registered"] is None else "not registered"
    uid = uid if status["uid"] is None else f"UID {status['uid']}"
    parts = [
        Text(f"{status['role']} {shown_hotkey(status['hotkey'], width)} ({uid})"),
        Text(f"netuid {status['netuid']}"),
        state_text(status["health"]),
        Text(f"up {duration(status['uptime_s'])}"),
        Text(counted(status["sessions"], "session")),
    ]
    by_synapse = status.get("roads", {}).get("synapse", 0)  # the neuron may run an earlier release
    parts += [Text(f"{by_synapse} by Synapse")] if by_synapse else []
    latency = status["latency_ms"]
    if latency is not None:
        parts += [Text(f"p50 {milliseconds(latency['p50'])}"), Text(f"p99 {milliseconds(latency['p99'])}")]
    age = status["metagraph"]["age_s"]
    if age is not None:
        style = "yellow" if age > OLD_METAGRAPH else ""
        parts.append(Text(f"metagraph of block {status['metagraph']['block']}, {duration(age)} old", style))
    return _joined(parts, width)


def _joined(parts: Sequence[Text], width: int) -> Text:
    """The parts beside each other; a part that does not fit begins a line."""
    lines = [parts[0]]
    for part in parts[1:]:
        if lines[-1].cell_len + GAP + part.cell_len <= width:
            lines[-1] = Text("  ").join([lines[-1], part])
        else:
            lines.append(part)
    return Text("\n").join(lines)


def troubles(status: Status) -> Text | None:
    """What has gone wrong in this neuron; None if nothing has. A fault is forgotten after ``OVER``."""
    lines = list(status.get("notices", []))  # the neuron may run an earlier release
    if status["registered"] is False:
        lines.append(f"the hotkey {status['hotkey']} is not in the metagraph: {UNREGISTERED}")
    lines += [status["endpoint_doubt"]] if status["endpoint_doubt"] else []
    lines += file_faults(status)
    faults = {name: (name.replace("_", " "), count, "") for name, count in status["troubles"].items()}
    faults |= {
        name: ("fell back to HTTP", count, f": {name.replace('_', ' ')}") for name, count in status["fallbacks"].items()
    }
    for name, (what, count, why) in faults.items():
        age = _last(status, name)
        if age is None or age < OVER:
            lines.append(f"{what} {_times(count)}{_since(count, age)}{why}")
    for name, score in status["handlers"].items():
        age = _last(status, name)
        busy = score.get("busy_s", 0)
        is_recent = (score["failures"] or score["dropped"]) and (age is None or age < OVER)
        if busy < HANGING and score["waiting"] < MANY_WAITING and not is_recent:
            continue
        text = f"{name}: {counted(score['failures'], 'failure')}"
        text += f", {counted(score['waiting'], 'event')} waiting for it, {score['dropped']} dropped"
        text += _since(score["failures"] + score["dropped"], age)
        text += f": {score['last']}" if score.get("last") else ""  # the neuron may run an earlier release
        lines.append(text + (f"; busy with one event for {duration(busy)}" if busy >= HANGING else ""))
    return Text("\n".join(map(printable, lines)), "yellow") if lines else None


def _last(status: Status, name: str) -> float | None:
    """Seconds since the last fault of this name; None if the neuron does not say."""
    ages: Mapping[str, float] = status.get("last_s", {})  # the neuron may run an earlier release
    return ages.get(name)


def _since(count: int, age: float | None) -> str:
    return "" if age is None else f", {'last ' if count > 1 else ''}{duration(age)} ago"


def file_faults(status: Status) -> list[str]:
    """What is wrong in the operator's files, a line each; a neuron of an earlier release does not say so."""
    lines: list[str] = []
    if status.get("feed_fault"):
        lines.append(f"the games cannot be read, so the last good slate, if any, stays: {status['feed_fault']}")
    withheld = status.get("withheld", {"count": 0, "first": []})
    for game in withheld["first"][:MANY_FAULTS]:
        name = f"game {game['game_id']!r}" if game["game_id"] else "a game without an id"
        lines.append(f"{name} is withheld: {game['reason']}")
    lines += _others(withheld["count"], "games are withheld")
    for what, skipped in status.get("skipped_rows", {}).items():
        lines += [f"a row of the {what} is wrong: {skipped['file']}: {f}" for f in skipped["first"][:MANY_FAULTS]]
        lines += _others(skipped["count"], f"rows of the {what} are wrong")
    return [printable(line) for line in lines]


def _others(count: int, what: str) -> list[str]:
    return [f"... {count} {what} in all; the first {MANY_FAULTS} are shown"] if count > MANY_FAULTS else []


def top_view(screen: Console, status: Status, before: Status | None = None, seconds: float = 1.0) -> RenderableType:
    """The live view of one neuron; on a terminal as high as that, with a footer."""
    wrong = troubles(status)
    if not screen.is_terminal:
        parts: list[RenderableType] = [headline(status, WIDE), ""]
        parts += [section("trouble", wrong, PAGE, "yellow"), ""] if wrong is not None else []
        parts += [section("peers", peers_table(status, WIDE), PAGE), ""]
        parts += [_counts(status, before, seconds, 8), "", _last_events(status, ROOM, PAGE)]
        return Group(*parts)
    width, footer = screen.width, _top_footer(status, screen.width)
    height = screen.height - len(footer)
    parts = [headline(status, width), ""]
    if wrong is not None:
        parts += [section("trouble", _first_lines(screen, wrong, max(2, height // 4)), width, "yellow"), ""]
    room = height // 2 - 2 - lines_of(screen, Group(*parts))
    parts += [section("peers", peers_table(status, width, room), width), ""]
    counts = Group(_counts(status, before, seconds, height // 6), "")
    if lines_of(screen, Group(*parts, counts)) + FEW_EVENTS < height:
        parts.append(counts)
    room = height - lines_of(screen, Group(*parts)) - 1
    if room > 0 and status["recent"]:
        parts.append(_last_events(status, room, width))
    body = Layout()  # cuts off what has no room, so that the footer is seen
    body.split_column(Layout(Group(*parts)), Layout(Group(*footer), size=len(footer)))
    return body


def _counts(status: Status, before: Status | None, seconds: float, limit: int) -> RenderableType:
    """Verdicts beside events; a table without rows is left out."""
    tables = (verdicts_table(status), events_table(status, before, seconds, limit))
    return Columns([table for table in tables if table.row_count], padding=(0, 4))


def _last_events(status: Status, room: int, width: int) -> RenderableType:
    return section("last events (UTC)", recent_lines(status["recent"], room), width)


def _first_lines(screen: Console, text: Text, room: int) -> Text:
    """The first lines of a text that fit into ``room`` lines of the terminal; a last line counts the others."""
    lines = text.split()
    kept = len(lines)
    while kept > 1 and lines_of(screen, Text("\n").join(lines[:kept])) + (kept < len(lines)) > room:
        kept -= 1
    shown = Text("\n", text.style).join(lines[:kept])
    if kept < len(lines):
        shown.append(f"\n... {len(lines) - kept} more: `bettensor top | cat` lists all")
    return shown


def _top_footer(status: Status, width: int) -> list[RenderableType]:
    """The keys, and what the columns mean."""
    columns, offset = peers_legend(status).splitlines()
    keys = Text.assemble((" q ", "reverse"), " quit   ", (offset, "dim"))
    lines = [Text(columns, "dim"), keys]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return [*lines]


_OFFSET: Final = {
    "miner": "offset: number of the last game update received from the validator",
    "validator": "offset: number of the last game update that the miner reported",
}
"""Explains a column of the peers, by the neuron's role."""


def peers_legend(status: Status) -> str:
    """Explains the columns of the peers."""
    heard = "for: time connected; last message: time since; latency: of the last verdict"
    return f"{heard}\n{_OFFSET[status['role']]}"


def lines_of(screen: Console, drawn: RenderableType) -> int:
    """The number of lines of ``drawn``."""
    return len(screen.render_lines(drawn, pad=False))


@contextmanager
def progress(text: str) -> Iterator[None]:
    """On a terminal, show a spinner with ``text`` while the block runs."""
    screen = Screen(stderr=True)
    if screen.is_terminal:
        with screen.status(text):
            yield
    else:
        yield


def live(
    draw: Callable[[Console], RenderableType], on_key: Callable[[str], bool], ended: Callable[[], bool] | None = None
) -> None:
    """Redraw until ``on_key`` returns False or ``ended`` returns True."""
    screen = console()
    with _keys() as keys, Live(draw(screen), console=screen, screen=True, auto_refresh=False) as shown:
        while ended is None or not ended():
            shown.update(draw(screen), refresh=True)
            for key in keys(1 / REFRESH):
                if not on_key(key):
                    return


def _no_keys(patience: float) -> str:
    time.sleep(patience)
    return ""


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Keys as they are pressed, without Enter; no keys if standard input is not a terminal."""
    if not sys.stdin.isatty():
        yield _no_keys
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)

    def pressed(patience: float) -> str:
        ready, _, _ = select.select([terminal], [], [], patience)
        return os.read(terminal, 32).decode(errors="ignore") if ready else ""

    try:
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
