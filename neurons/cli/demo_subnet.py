"""The subnet of the demo: its neurons, the faults that come to them, and the keys that cause some."""

import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bettensor.bus.errors import BettensorError
from bettensor.neurons.cli.demo_existing import ExistingPlayer
from bettensor.neurons.cli.demo_faults import DemoFault, Kind
from bettensor.neurons.cli.demo_files import prepare, set_websocket
from bettensor.neurons.cli.demo_player import STOP_TIMEOUT, VALIDATOR, Player, await_end
from bettensor.neurons.cli.demo_wire import Wires
from bettensor.neurons.system.ports import free_port

START_TIMEOUT: Final = 60.0
"""Seconds for a process to start, also on a busy machine."""
REVIVAL: Final = 2.0
"""Seconds between a neuron's death and its restart."""
TICK: Final = 0.1
"""Seconds between two looks at the processes."""
LOOK: Final = 0.5
CLOSE_LOOK: Final = 0.2
"""Seconds between two questions to all neurons: usually, and while a fault lasts."""
WAGERS_PER_SECOND: Final = 500.0
"""More than a miner wagers, in the subnet's units: by this the daily limit fits the demo's duration."""
MAX_LIMIT: Final = 1e8
_NEWS: Final = {"HTTP": "uses HTTP", "Synapse": "answers via Synapse"}
"""What a miner does without a session, by its transport."""


class DemoFailed(BettensorError):
    """The demo cannot run."""


class Demo:
    """The neurons, and the keys that act on them."""

    def __init__(self, folder: Path, miners: int, duration: float, existing: int = 0, python: Path = Path()) -> None:
        """
        Args:
            folder: for all files; there is nothing in it.
            miners: how many.
            duration: seconds.
            existing: how many existing miners.
            python: what runs these.
        """
        self.folder = folder
        self.duration = duration
        port = free_port()
        self.validator = Player(VALIDATOR, folder)
        self._wires = Wires(port, miners)
        self.miners = [
            Player(f"miner-{number}", folder, wire=wire) for number, wire in enumerate(self._wires.wires, start=1)
        ]
        self.existing = [
            ExistingPlayer(f"existing-{number}", folder, python=python) for number in range(1, existing + 1)
        ]
        self.chosen = 0
        """Index of the miner that keys act on."""
        limit = min(MAX_LIMIT, WAGERS_PER_SECOND * (duration + STOP_TIMEOUT))
        self.visitor = prepare(folder, self.players, port, limit)
        self.faults: list[DemoFault] = []
        self.looked = 0.0
        """Monotonic time of the last look at all neurons."""
        self.started = time.monotonic()
        self.begun: float | None = None
        """Monotonic time at which every miner was connected; see ``age``."""
        self.odds: dict[str, float] = {}
        self.moved: dict[str, float] = {}

    def age(self) -> float:
        """Seconds since the validator has heard every miner, or each has had ``START_TIMEOUT`` for that."""
        if self.begun is None:
            late = time.monotonic() - self.started > START_TIMEOUT
            if not late and not all(miner.describe()[1] for miner in self.betting):
                return 0.0
            self.begun = time.monotonic()
        return time.monotonic() - self.begun

    @property
    def players(self) -> list[Player]:
        return [self.validator, *self.betting]

    @property
    def betting(self) -> list[Player]:
        """All miners, also the existing ones."""
        return [*self.miners, *self.existing]

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
        for miner in self.betting:
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
        for miner in self.betting:
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
        return [miner.name for miner in self.betting] if fault.who == VALIDATOR else [fault.who]

    def waiting(self, fault: DemoFault) -> int:
        """The number of predictions without a verdict that a fault affects."""
        affected = self._affected(fault)
        return sum(miner.codes[None] for miner in self.betting if miner.name in affected)

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
        peers = [] if self.validator.status is None else self.validator.status["peers"]
        for miner in self.existing:
            miner.see(next((peer for peer in peers if peer["hotkey"] == miner.hotkey), None))

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
            set_websocket(self.folder, miner)
        return True

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
        for existing in self.existing:
            existing.rest()
        self._settle(say)
        for group in (self.betting, [self.validator]):
            for player in group:
                if player.process is not None:
                    player.process.terminate()
            await_end(group)

    def _settle(self, say: Callable[[str], None]) -> None:
        """Give miners that were cut off or killed time to get their verdicts."""
        deadline = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < deadline:
            self.look()
            for line in self._recoveries():
                say(line)
            if all(miner.is_settled() for miner in self.betting):
                return
            time.sleep(0.2)

    def close(self) -> None:
        """Kill all processes that still run, and end the wires."""
        for player in self.players:
            player.close()
        self._wires.close()


def _news_of(miner: Player) -> list[str]:
    state, transport = miner.describe()
    if not transport or miner.told == (state, transport):
        return []
    miner.told = state, transport
    return [f"{miner.name} {_NEWS.get(transport, 'is connected')}"]


def verdicts_of(demo: Demo) -> "Counter[str]":
    """The number of all miners' and the visitor's predictions by verdict."""
    return sum((miner.judged() for miner in demo.betting), demo.visitor.codes)


def latency_of(demo: Demo) -> dict[str, float] | None:
    """The median of the miners' medians, and the highest of their 99th percentiles; milliseconds to the verdict."""
    known = [m.last_status["latency_ms"] for m in demo.betting if m.last_status is not None]
    told = [latency for latency in known if latency is not None]
    if not told:
        return None
    return {
        "p50": round(statistics.median(latency["p50"] for latency in told), 3),
        "p99": round(max(latency["p99"] for latency in told), 3),
    }
