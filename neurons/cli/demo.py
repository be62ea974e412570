"""A whole subnet on one machine for a short time: one validator and some miners, each in its own process.

The view shows the status that the neurons give over their control sockets; the outcome is read from the miners'
outboxes at the end. Each miner reaches the validator through a wire that can be cut. A neuron that is killed, by a key
or from outside, is started again. A visitor breaks some rules on purpose, so that there is a rejection of each kind.
"""

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.text import Text

from bettensor.actors.monitor import LATENCIES
from bettensor.bus.errors import BettensorError
from bettensor.bus.text import counted
from bettensor.neurons.cli import views
from bettensor.neurons.cli.control_client import ask
from bettensor.neurons.cli.demo_faults import DemoFault, Kind
from bettensor.neurons.cli.demo_visitor import Visitor
from bettensor.neurons.cli.history import OUTBOX, history_codes, history_file
from bettensor.neurons.edges.game_feed import SHIPPED
from bettensor.neurons.edges.wallets import load_hotkey, new_wallet
from bettensor.neurons.system.ports import free_port
from bettensor.neurons.system.processes import allow_open_files, spawn
from bettensor.neurons.system.scratch import clear_abandoned, scratch_folder
from bettensor.neurons.system.signals import ends_in_order

NETUID: Final = 30
START_TIMEOUT: Final = 60.0
"""Seconds for a process to start, also on a busy machine."""
STOP_TIMEOUT: Final = 15.0
"""Seconds for a process to stop; then it is killed."""
REVIVAL: Final = 2.0
"""Seconds between a neuron's death and its restart."""
DURATION: Final = 20.0
LIVE_DURATION: Final = 60.0
"""Default duration in seconds: without and with a terminal."""
TICK: Final = 0.1
"""Seconds between two looks at the processes."""
LOOK: Final = 0.5
CLOSE_LOOK: Final = 0.2
"""Seconds between two questions to all neurons: usually, and while a fault lasts."""
WAGERS_PER_SECOND: Final = 500.0
"""More than a miner wagers, in the subnet's units: by this the daily limit fits the demo's duration."""
MAX_LIMIT: Final = 1e8
KICK_OFF: Final = 5
"""Seconds from the validator's start to the start of its first game."""
ODDS_GRACE: Final = 60.0
"""Seconds for which a prediction may quote odds that have moved: longer than a fault lasts, usually."""
VALIDATOR: Final = "validator"
VISITOR: Final = "visitor"
ROOMY: Final = 108
"""Columns from which on there is room for full headings, the transport and full notes on a neuron."""
LEAST: Final = 4
"""Lines that the slate and the last events need together."""
VERDICTS: Final = 32
"""Columns for the verdicts beside the slate."""
_RESET: Final = struct.pack("ii", 1, 0)


class DemoFailed(BettensorError):
    """The demo cannot run."""


class Wires:
    """The thread with an event loop in which wires work, from ``start`` to ``close``."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()

    def start(self) -> None:
        """Be ready to work."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="wires", daemon=True)
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """End all work that is left, and the thread; nothing happens if it was not started."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._closed.set)
            self._thread.join()
            self._thread = None

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` in the thread, and wait for its end."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    async def _work(self) -> None:
        self._loop, self._closed = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._closed.wait()


class Wire:
    """A TCP port that leads to the validator, until it is cut."""

    def __init__(self, target: int, wires: Wires) -> None:
        self.port = free_port()
        self.cut = False
        self._target = target
        self._wires = wires
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def open(self) -> None:
        """Lead to the validator from now on."""
        self._wires.run(self._listen())

    def close(self) -> None:
        """Reset open connections, and refuse new ones."""
        self._wires.run(self._break())

    def toggle(self) -> None:
        """Cut it, or mend it."""
        self.cut = not self.cut
        if self.cut:
            self.close()
        else:
            self.open()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def _break(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            back, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there)
            await asyncio.gather(_pump(reader, there), _pump(back, writer))
        except OSError:
            pass  # the validator is down
        finally:
            for end in (writer, there):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.close()


@dataclass(slots=True)
class Player:
    """One neuron of the demo."""

    name: str
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None
    wire: Wire | None = None
    status: dict[str, Any] | None = None
    """Its newest status; None while it does not answer."""
    last_status: dict[str, Any] | None = None
    codes: "Counter[str | None]" = field(default_factory=Counter)
    """Its predictions on disk by verdict, also those made before it was killed; None counts those without a verdict."""
    dead_since: float | None = None
    restarts: int = 0
    websocket: bool = True
    told: tuple[str, str] = ("", "")
    """The state and transport that the plain lines told last."""

    @property
    def state_dir(self) -> Path:
        return self.folder / f"{self.name}-state"

    def start(self) -> None:
        role = VALIDATOR if self.name == VALIDATOR else "miner"
        command = [
            sys.executable,
            "-m",
            f"bettensor.neurons.{role}",
            "--config",
            str(self.folder / f"{self.name}.yaml"),
        ]
        self.process = spawn(command, self.folder / f"{self.name}.log")
        self.dead_since = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def look(self) -> None:
        """Read its status and its predictions; of the validator the games too."""
        question = {"ask": "status", "slates": self.name == VALIDATOR}
        try:
            self.status = self.last_status = ask(self.state_dir, question, 0.5)
        except BettensorError:
            self.status = None
        with contextlib.suppress(BettensorError):  # it has no file yet
            self.codes = history_codes(history_file(self.state_dir))

    def has_begun(self) -> bool:
        """Whether a miner has come so far that it keeps its predictions."""
        return (self.state_dir / OUTBOX).exists()

    def judged(self) -> "Counter[str]":
        """The number of its predictions by verdict."""
        return Counter({code: count for code, count in self.codes.items() if code is not None})

    def end_of_log(self) -> str:
        log = self.folder / f"{self.name}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""

    def works(self) -> bool:
        """Whether it answers, and is connected if it is a miner."""
        if self.status is None or self.dead_since is not None or (self.wire is not None and self.wire.cut):
            return False
        return self.name == VALIDATOR or bool(self.describe()[1])

    def describe(self) -> tuple[str, str]:
        """State and transport, one word each."""
        if self.process is None or self.process.poll() is not None:
            return "down", ""
        if self.status is None:
            return "starting", ""
        if self.name == VALIDATOR:
            return str(self.status["health"]), ""
        peer = next(iter(self.status["peers"]), None)
        if peer is None:
            return "starting", ""
        return peer["state"], {"websocket": "WebSocket", "http": "HTTP"}.get(peer["transport"], "")


class Demo:
    """The neurons, and the keys that act on them."""

    def __init__(self, folder: Path, miners: int, duration: float = DURATION) -> None:
        self.folder = folder
        self.duration = duration
        port = free_port()
        self.validator = Player(VALIDATOR, folder)
        self._wires = Wires()
        wires = [Wire(port, self._wires) for _ in range(miners)]
        self.miners = [Player(f"miner-{number}", folder, wire=wire) for number, wire in enumerate(wires, start=1)]
        self.chosen = 0
        """Index of the miner that keys act on."""
        limit = min(MAX_LIMIT, WAGERS_PER_SECOND * (duration + STOP_TIMEOUT))
        self.visitor = _prepare(folder, self.players, port, limit)
        self.faults: list[DemoFault] = []
        self.looked = 0.0
        """Monotonic time of the last look at all neurons."""
        self.started = time.monotonic()
        self.begun: float | None = None
        """Monotonic time at which every miner was connected; see ``age``."""
        self.odds: dict[str, float] = {}
        self.moved: dict[str, float] = {}

    def age(self) -> float:
        """Seconds since every miner has reached the validator, or has had ``START_TIMEOUT`` to do so."""
        if self.begun is None:
            late = time.monotonic() - self.started > START_TIMEOUT
            if not late and not all(miner.describe()[1] for miner in self.miners):
                return 0.0
            self.begun = time.monotonic()
        return time.monotonic() - self.begun

    @property
    def players(self) -> list[Player]:
        return [self.validator, *self.miners]

    def start(self) -> None:
        """Start all neurons, and wait until the validator answers.

        Raises:
            DemoFailed: it does not answer in time.
        """
        self.validator.start()
        deadline = time.monotonic() + START_TIMEOUT
        while self.validator.status is None or not self.validator.status["slates"]:
            self.check()
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"the validator does not answer within {START_TIMEOUT:g} s:\n{self.validator.end_of_log()}"
                )
            time.sleep(0.05)
            self.look()
        self._wires.start()
        for miner in self.miners:
            if miner.wire is not None:
                miner.wire.open()
            miner.start()
        self.started = time.monotonic()

    def tick(self) -> list[str]:
        """Do what is due now; returns a line for each event that is worth one.

        Raises:
            DemoFailed: a neuron ended by itself.
        """
        news = self.check()
        closely = any(fault.back_at is None for fault in self.faults)
        if time.monotonic() - self.looked < (CLOSE_LOOK if closely else LOOK):
            return news
        self.look()
        for miner in self.miners:
            news += _news_of(miner)
        news += self._recoveries()
        if self.begun is not None and self.validator.works():
            offence = self.visitor.visit(self.age())
            if offence is not None:
                news.append(f"a visitor {offence.what}: {offence.code} ({offence.message})")
        return news

    def _recoveries(self) -> list[str]:
        """Watch the faults that last; returns a line for each that is over."""
        now = self.age()
        over = [f for f in self.faults if f.watch(now, works=self._is_over(f), waiting=self.waiting(f))]
        return [f"{fault.who} {fault.recovery()}; predictions that waited: {fault.waited}" for fault in over]

    def _is_over(self, fault: DemoFault) -> bool:
        player = next(player for player in self.players if player.name == fault.who)
        on_its_road = fault.kind != "WebSocket off" or player.websocket or player.describe()[1] == "HTTP"
        return player.works() and on_its_road

    def _affected(self, fault: DemoFault) -> list[str]:
        """The miners whose predictions wait because of a fault."""
        return [miner.name for miner in self.miners] if fault.who == VALIDATOR else [fault.who]

    def waiting(self, fault: DemoFault) -> int:
        """The number of predictions without a verdict that a fault affects."""
        affected = self._affected(fault)
        return sum(miner.codes[None] for miner in self.miners if miner.name in affected)

    def _begin_fault(self, player: Player, kind: Kind) -> None:
        player.status = None  # what it said before
        self.faults.append(DemoFault(player.name, kind, self.age()))

    def check(self) -> list[str]:
        """Restart neurons that were killed; returns a line for each that died or was restarted.

        Raises:
            DemoFailed: a neuron ended by itself.
        """
        news = []
        for player in self.players:
            code = None if player.process is None else player.process.poll()
            if code is None:
                continue
            if code >= 0:
                raise DemoFailed(f"{player.name} ended with exit code {code}:\n{player.end_of_log()}")
            if player.dead_since is None:
                player.dead_since = time.monotonic()
                player.restarts += 1
                self._begin_fault(player, "killed")
                reason = signal.Signals(-code).name
                news.append(f"{player.name} was killed ({reason}); restarting it in {REVIVAL:g} s")
            elif time.monotonic() - player.dead_since >= REVIVAL:
                player.start()
                news.append(f"restarting {player.name}")
        return news

    def look(self) -> None:
        """Read the status of all neurons."""
        self.looked = time.monotonic()
        for player in self.players:
            player.look()
        if self.validator.status is not None:
            slate = [game for slate in self.validator.status["slates"] for game in slate["games"]]
            self.visitor.see(slate)
            self._compare_odds(slate)

    def _compare_odds(self, slate: list[dict[str, Any]]) -> None:
        now = {game["game_id"]: game["team_a_odds"] for game in slate}
        moved = {game: odds - self.odds.get(game, odds) for game, odds in now.items()}
        if any(moved.values()):
            self.moved = moved
        self.odds = now

    def press(self, key: str) -> bool:
        """Do what a key stands for; returns False if it ends the demo."""
        miner = self.miners[self.chosen]
        if key in "qQ\x03":
            return False
        if key.isdecimal() and 1 <= int(key) <= len(self.miners):
            self.chosen = int(key) - 1
        elif key == "v":
            self.validator.kill()
        elif key == "k":
            miner.kill()
        elif key == "n" and miner.wire is not None:
            miner.wire.toggle()
            miner.status = None
            if miner.wire.cut:
                self._begin_fault(miner, "network cut")
        elif key == "w":
            miner.websocket = not miner.websocket
            if not miner.websocket:
                self._begin_fault(miner, "WebSocket off")
            self._configure(miner)
        return True

    def _configure(self, miner: Player) -> None:
        """Edit the miner's file, as an operator would; the running miner reloads it."""
        file = self.folder / f"{miner.name}.yaml"
        settings = yaml.safe_load(file.read_text())
        settings["websocket"]["enabled"] = miner.websocket
        _write(file, settings)

    def stop(self, say: Callable[[str], None]) -> None:
        """Stop the miners first, because they wait for their last verdicts; then the validator.

        Args:
            say: is told what happens meanwhile.
        """
        for miner in self.miners:
            if miner.wire is not None and miner.wire.cut:
                miner.wire.toggle()
        while any(player.process is not None and player.process.poll() is not None for player in self.players):
            for line in self.check():
                say(line)
            time.sleep(TICK)
        self._settle(say)
        for group in (self.miners, [self.validator]):
            for player in group:
                if player.process is not None:
                    player.process.terminate()
            _await_end(group)

    def _settle(self, say: Callable[[str], None]) -> None:
        """Give miners that were cut off or killed time to get their verdicts."""
        deadline = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < deadline:
            self.look()
            for line in self._recoveries():
                say(line)
            if all(
                m.status is not None and m.describe()[1] and m.status["predictions"]["waiting"] < 50
                for m in self.miners
            ):
                return
            time.sleep(0.2)

    def close(self) -> None:
        """Kill all processes that still run, and end the wires."""
        for player in self.players:
            if player.process is not None:
                if player.process.poll() is None:
                    player.process.kill()
                player.process.wait()
        self._wires.close()


def run_demo(*, miners: int, duration: float | None = None, as_json: bool = False) -> int:
    """Run the demo.

    Args:
        miners: number of miners, at least one.
        duration: seconds, above 0; by default 60 in a terminal, otherwise 20.
        as_json: print only the outcome, as JSON.

    Returns:
        0 if predictions were accepted and every prediction has its verdict, otherwise 1.

    Raises:
        DemoFailed: a process did not start, or ended by itself; the message has the end of its log.
    """
    watched = not as_json and sys.stdout.isatty() and sys.stdin.isatty()
    if duration is None:
        duration = LIVE_DURATION if watched else DURATION
    say = _silence if as_json else _say
    allow_open_files()
    if (cleared := clear_abandoned()) is not None:
        say(str(cleared))
    with ends_in_order(), scratch_folder("demo") as folder:
        say("creating throwaway wallets, metagraph files and configurations")
        demo = Demo(folder, miners, duration)
        try:
            demo.start()
            say("the validator is running; starting the miners")
            if watched:
                _show(demo)
            else:
                _tell(demo, say)
            say("stopping: the miners wait for their last verdicts")
            demo.stop(say)
            demo.look()  # at what is on disk
            say(_progress(demo))
        finally:
            demo.close()
        outcome = outcome_of(demo)
        if as_json:
            print(json.dumps(outcome, indent=2))
        else:
            print_outcome(demo, outcome)
    return 0 if outcome["ok"] else 1


def _say(text: str) -> None:
    print(text, flush=True)


def _silence(_: str) -> None:
    pass


# --- plain lines


def _tell(demo: Demo, say: Callable[[str], None]) -> None:
    told = 0.0
    while (age := demo.age()) < demo.duration:
        time.sleep(min(TICK, demo.duration - age))
        for line in demo.tick():
            say(line)
        if age >= told + 1.0:
            told = age
            say(_progress(demo))


def _progress(demo: Demo) -> str:
    verdicts = _verdicts(demo)
    accepted = verdicts.pop("accepted", 0)
    made = sum(miner.codes.total() for miner in demo.miners) + demo.visitor.codes.total()
    return f"{made} predictions pushed, {accepted} accepted, {verdicts.total()} rejected{_latencies(demo)}"


def _news_of(miner: Player) -> list[str]:
    state, transport = miner.describe()
    if not transport or miner.told == (state, transport):
        return []
    miner.told = state, transport
    return [f"{miner.name} is connected" if state == "connected" else f"{miner.name} uses HTTP"]


def _latencies(demo: Demo) -> str:
    latency = latency_of(demo)
    return "" if latency is None else f"; push to verdict: p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms"


# --- the live view


def _show(demo: Demo) -> None:
    def draw(screen: Console) -> RenderableType:
        demo.tick()
        return demo_view(demo, demo.age(), demo.duration, screen)

    views.live(draw, demo.press, lambda: demo.age() >= demo.duration)


def demo_view(demo: Demo, elapsed: float, duration: float, screen: Console) -> RenderableType:
    """The whole demo, as high as the terminal, with the keys in its last line; or the size that this view needs."""
    width = screen.width
    title = Text("Bettensor", "bold")
    title.append(f"  one validator and {counted(len(demo.miners), 'miner')}, each in its own process", "not bold")
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
        views.verdict_counts(_verdicts(demo), VERDICTS - 3),
    ]
    recent = [] if demo.validator.last_status is None else demo.validator.last_status["recent"]
    lines = views.recent_lines(recent, max(1, left - games - 1))
    lines.append("\n" * (left - games - 1 - len(lines.plain.splitlines())))
    events = views.section("last events on the validator's bus", lines, width)
    return Group(above, Columns(counts, padding=(0, 3)), "", events, keys)


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


# --- the outcome


def _verdicts(demo: Demo) -> "Counter[str]":
    return sum((miner.judged() for miner in demo.miners), demo.visitor.codes)


def latency_of(demo: Demo) -> dict[str, float] | None:
    """The median of the miners' medians, and the highest of their 99th percentiles; milliseconds to the verdict."""
    known = [m.last_status["latency_ms"] for m in demo.miners if m.last_status is not None]
    told = [latency for latency in known if latency is not None]
    if not told:
        return None
    return {
        "p50": round(statistics.median(latency["p50"] for latency in told), 3),
        "p99": round(max(latency["p99"] for latency in told), 3),
    }


def outcome_of(demo: Demo) -> dict[str, Any]:
    """What became of every prediction, as plain data."""
    codes: Counter[str | None] = sum((miner.codes for miner in demo.miners), Counter())
    for code, count in demo.visitor.codes.items():
        codes[code] += count
    pushed = codes.total()
    unanswered = codes.pop(None, 0)
    return {
        "ok": codes["accepted"] > 0 and unanswered == 0 and all(miner.has_begun() for miner in demo.miners),
        "miners": len(demo.miners),
        "restarts": sum(player.restarts for player in demo.players),
        "pushed": pushed,
        "answered": pushed - unanswered,
        "verdicts": dict(codes),
        "latency_ms": latency_of(demo),
        "faults": [fault.as_json() for fault in demo.faults],
        "rules_broken_on_purpose": [offence.as_json() for offence in demo.visitor.offences],
    }


def print_outcome(demo: Demo, outcome: dict[str, Any]) -> None:
    """The outcome, for people."""
    numbers = ("pushed", "accepted", "rejected", "p50 ms", "p99 ms", "restarts")
    table = views.plain_table("miner", *numbers, right=numbers)
    for miner in demo.miners:
        latency = None if miner.last_status is None else miner.last_status["latency_ms"]
        table.add_row(
            miner.name,
            str(miner.codes.total()),
            str(miner.codes["accepted"]),
            str(miner.codes.total() - miner.codes["accepted"] - miner.codes[None]),
            *(("-", "-") if latency is None else (f"{latency[p]:.1f}" for p in ("p50", "p99"))),
            str(miner.restarts),
        )
    count = demo.visitor.codes.total()
    if count:
        table.add_row(VISITOR, str(count), "0", str(count), "-", "-", "-")
    screen = views.console()
    screen.print("\nOutcome", table)
    waiting = "; during faults they wait" if demo.faults else ""
    screen.print(
        f"p50, p99: from push to verdict, of each miner's last {LATENCIES:,} since its start{waiting}", style="dim"
    )
    by_code = ", ".join(f"{count} {code}" for code, count in sorted(outcome["verdicts"].items()))
    screen.print(f"verdicts: {by_code or 'none'}")
    _print_faults(demo, screen)
    if demo.visitor.offences:
        screen.print("\nRules that the visitor broke on purpose, with the validator's words", _offences(demo))
    if outcome["ok"]:
        screen.print(f"\nall {outcome['pushed']} predictions have a verdict")
        _print_next_step(screen)
    else:
        missing = outcome["pushed"] - outcome["answered"]
        screen.print(f"\nFAILED: {missing} of {outcome['pushed']} predictions have no verdict")


def _print_faults(demo: Demo, screen: Console) -> None:
    if not demo.faults:
        screen.print("\nFaults: none. In a terminal, keys cause some while the demo runs.")
        return
    table = views.plain_table("at", "fault", "recovery", "predictions waited", right=("at",))
    for fault in demo.faults:
        missing = demo.waiting(fault)
        table.add_row(f"{fault.at:.1f} s", f"{fault.who}: {fault.kind}", fault.recovery(), fault.verdicts(missing))
    screen.print("\nFaults", table)


def _offences(demo: Demo) -> RenderableType:
    table = views.plain_table("at", "the visitor", "verdict", right=("at",), whole=("the visitor", "verdict"))
    for offence in demo.visitor.offences:
        verdict = Text.assemble((offence.code, "yellow"), ": ", views.said(offence.message))
        table.add_row(f"{offence.at:.1f} s", offence.what, verdict)
    return table


def _print_next_step(screen: Console) -> None:
    """What to do now, with commands that work as they are."""
    steps = ["bettensor init", "bettensor validator", "bettensor miner     (in another terminal)"]
    if shutil.which("bettensor") is None:
        steps.insert(0, f". {Path(sys.executable).with_name('activate')}     (in each terminal)")
    screen.print("\nNext: a validator and a miner of your own. In an empty folder:")
    for step in steps:
        screen.print(f"    {step}", soft_wrap=True)
    screen.print("docs/tutorial.md goes on from there. The wallets, ledger and logs of this demo are removed.")


# --- preparations


def _prepare(folder: Path, players: list[Player], port: int, limit: float) -> Visitor:
    """Write all files; returns the visitor, who is registered as well."""
    wallets = str(folder / "wallets")
    names = [*(player.name for player in players), VISITOR]
    hotkeys = {name: new_wallet("demo", name, wallets, "sr25519") for name in names}
    _write_games(folder / "games.json")
    for number, player in enumerate(players):
        neurons: list[dict[str, Any]] = [{"hotkey": hotkey} for hotkey in hotkeys.values()]
        entrance = port if player.wire is None else player.wire.port
        neurons[0] |= {"validator_permit": True, "axon": f"127.0.0.1:{entrance}"}
        _write(folder / f"{player.name}-metagraph.yaml", {"neurons": neurons})
        settings: dict[str, Any] = {
            "role": VALIDATOR if player.name == VALIDATOR else "miner",
            "netuid": NETUID,
            "state_dir": f"{player.name}-state",
            "wallet": {"name": "demo", "hotkey": player.name, "path": wallets},
            "metagraph": {"static": f"{player.name}-metagraph.yaml"},
            "metrics": {"enabled": False},
            "websocket": {"reconnect_base_interval": 1.0, "max_reconnect_interval": 5.0},
        }
        if player.name == VALIDATOR:
            settings["axon"] = {"ip": "127.0.0.1", "port": port}
            settings["games"] = {"source": "random", "path": "games.json", "interval": 2.0}
            settings["actors"] = {"prediction": {"odds_grace": ODDS_GRACE, "daily_wager_limit": limit}}
        else:
            settings["actors"] = {
                "model": {"interval": 1.0},
                "predictor": {"edge": 0.15, "bankroll": 100.0, "seed": number},
                "http_fallback": {"poll_interval": 1.0},
            }
        _write(folder / f"{player.name}.yaml", settings)
    return Visitor(load_hotkey("demo", VISITOR, wallets), NETUID, hotkeys[VALIDATOR], port, limit)


def _write_games(file: Path) -> None:
    """The games of this package, of which the first begins while the demo runs."""
    document = json.loads(SHIPPED.read_text(encoding="utf-8"))
    document["games"][0]["event_start_date"] = f"PT{KICK_OFF}S"
    file.write_text(json.dumps(document))


def _write(file: Path, document: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(document, sort_keys=False))


def _await_end(players: list[Player]) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT
    for player in players:
        if player.process is not None:
            try:
                player.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                player.process.kill()
