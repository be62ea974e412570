"""A whole subnet on one machine for a few seconds: one validator and some miners, each a process of its own.

The demo counts with what everybody has: the miners' configuration subscribes functions of this module to bus events,
and each writes what it hears to its miner's tally, one JSON object a line. What became of every prediction is read from
the miners' outboxes in the end. A neuron that is killed meanwhile is started again: try it.
"""

import ctypes
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import yaml

from bus.errors import BettensorError
from bus.events import GamesUpdated, PredictionMade, SessionActivated, VerdictReceived
from neurons.edges.history import outbox_codes
from neurons.edges.keys import new_wallet

NETUID: Final = 30
START_TIMEOUT: Final = 20.0
"""Seconds for a process to start, on a machine that has other things to do."""
STOP_TIMEOUT: Final = 15.0
"""Seconds for a process to stop; then it is killed."""
_TALLY: Final = "DEMO_OF_BETTENSOR_TALLY"
_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG


class DemoFailed(BettensorError):
    """The demo could not run."""


# --- in the miners' processes


def on_session(event: SessionActivated) -> None:
    """A handler: a session with a validator is active."""
    _tell(connected=event.session)


def on_games(event: GamesUpdated) -> None:
    """A handler: the slate changed."""
    _tell(games=len(event.games))


def on_made(event: PredictionMade) -> None:
    """A handler: the model wants to bet."""
    _tell(made=event.prediction.prediction_id)


def on_verdict(event: VerdictReceived) -> None:
    """A handler: a prediction has its verdict."""
    _tell(verdict=event.code, prediction=event.prediction.prediction_id, ms=event.latency / 1000)


HANDLERS: Final[dict[str, Callable[..., None]]] = {
    SessionActivated.topic: on_session,
    GamesUpdated.topic: on_games,
    PredictionMade.topic: on_made,
    VerdictReceived.topic: on_verdict,
}


def _tell(**facts: object) -> None:
    with Path(os.environ[_TALLY]).open("a") as tally:
        tally.write(json.dumps(facts) + "\n")


# --- in the demo's own


@dataclass(slots=True)
class Tally:
    """What one miner has told so far."""

    name: str
    path: Path
    read: int = 0
    """Bytes."""
    connections: int = 0
    updates: int = 0
    """Of the slate, the first snapshot included."""
    codes: "Counter[str | None]" = field(default_factory=Counter)
    """Of its predictions; None counts those without a verdict."""
    latencies: list[float] = field(default_factory=list)
    """Milliseconds from the first push to the verdict."""

    def update(self) -> None:
        """Read on; a line that is still being written is left for the next time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.read += len(line)
                self._count(json.loads(line))

    def _count(self, facts: dict[str, Any]) -> None:
        if "connected" in facts:
            self.connections += 1
            _say(f"{self.name} is connected")
        elif "games" in facts:
            self.updates += 1
            if self.updates == 1:
                _say(f"{self.name} has the slate: {facts['games']} games")
        elif "made" in facts:
            self.codes[None] += 1
        else:
            self.codes[None] -= 1
            self.codes[facts["verdict"]] += 1
            self.latencies.append(facts["ms"])


_quiet = False


def _say(text: str) -> None:
    if not _quiet:
        print(text, flush=True)


def run_demo(*, miners: int, duration: float, as_json: bool = False) -> int:
    """Run the demo; returns 0 only if predictions were accepted and every one that was pushed has its verdict.

    Raises:
        DemoFailed: a process did not start, or ended by itself; the message has the end of its log.
    """
    global _quiet  # noqa: PLW0603 - one demo a process
    _quiet = as_json
    if miners < 1 or duration <= 0:
        raise DemoFailed("--miners must be at least 1 and --duration above 0")
    with _signals_as_exceptions(), tempfile.TemporaryDirectory(prefix="bettensor-demo-") as folder:
        tallies = _work(Path(folder), miners, duration)
    outcome = _outcome(tallies)
    if as_json:
        print(json.dumps(outcome, indent=2))
    else:
        _print_table(tallies, outcome)
    return 0 if outcome["ok"] else 1


def _work(folder: Path, miners: int, duration: float) -> list[Tally]:
    port = _free_port()
    _say("making throwaway wallets, a metagraph and the configurations")
    names = _prepare(folder, miners, port)
    tallies = [Tally(name, folder / f"{name}.tally") for name in names]
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        processes["validator"] = _start(folder, "validator")
        _await_port(folder, port, processes["validator"])
        _say(f"the validator listens on 127.0.0.1:{port}")
        for tally in tallies:
            processes[tally.name] = _start(folder, tally.name)
        end = time.monotonic() + duration
        while time.monotonic() < end:
            time.sleep(min(1.0, max(0.0, end - time.monotonic())))
            _start_again(folder, processes)
            _report(tallies)
        _say("stopping: the miners wait for the verdicts that are on their way")
        for name in [*names, "validator"]:
            processes[name].terminate()
            if name == names[-1]:
                _await_end([processes[name] for name in names])
        _await_end([processes["validator"]])
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
    for tally in tallies:
        tally.update()
        tally.codes = outbox_codes(folder / f"{tally.name}-state" / "outbox.sqlite3")
    return tallies


def _prepare(folder: Path, miners: int, port: int) -> list[str]:
    wallets = str(folder / "wallets")
    names = [f"miner-{number}" for number in range(1, miners + 1)]
    hotkeys = {name: new_wallet("demo", name, wallets, "sr25519") for name in ("validator", *names)}
    neurons: list[dict[str, Any]] = [{"hotkey": hotkey} for hotkey in hotkeys.values()]
    neurons[0] |= {"validator_permit": True, "axon": f"127.0.0.1:{port}"}
    _write(folder / "metagraph.yaml", {"neurons": neurons})
    for name in hotkeys:
        role = "validator" if name == "validator" else "miner"
        settings: dict[str, Any] = {
            "role": role,
            "netuid": NETUID,
            "state_dir": f"{name}-state",
            "wallet": {"name": "demo", "hotkey": name, "path": wallets},
            "metagraph": {"static": "metagraph.yaml"},
            "metrics": {"enabled": False},
            "websocket": {"reconnect_base_interval": 1.0, "max_reconnect_interval": 5.0},
        }
        if role == "validator":
            settings["axon"] = {"ip": "127.0.0.1", "port": port}
            settings["games"] = {"source": "random", "interval": 2.0}
        else:
            number = int(name.removeprefix("miner-"))
            # the third of every three bets more than it may in a day, so that there is something to reject
            bankroll = 2000.0 if number % 3 == 0 else 100.0
            settings["actors"] = {
                "model": {"interval": 1.0},
                "predictor": {"edge": 0.15, "bankroll": bankroll, "seed": number},
            }
            settings["handlers"] = {topic: [f"neurons.demo:{f.__name__}"] for topic, f in HANDLERS.items()}
        _write(folder / f"{name}.yaml", settings)
    return names


def _write(file: Path, document: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(document, sort_keys=False))


def _start(folder: Path, name: str) -> "subprocess.Popen[bytes]":
    role = "validator" if name == "validator" else "miner"
    command = [sys.executable, "-m", f"neurons.{role}", "--config", str(folder / f"{name}.yaml")]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own neurons
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {_TALLY: str(folder / f"{name}.tally")},
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread here
        )


def _die_with_parent() -> None:
    """However the demo ends, its neurons end with it."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_port(folder: Path, port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        _start_again(folder, {"validator": process})
        time.sleep(0.05)
    raise DemoFailed(f"the validator does not listen after {START_TIMEOUT:g} s:\n{_end_of_log(folder, 'validator')}")


def _start_again(folder: Path, processes: "dict[str, subprocess.Popen[bytes]]") -> None:
    """Whoever was killed lives again; whoever ended by itself is a failure of the demo."""
    for name, process in processes.items():
        code = process.poll()
        if code is not None and code >= 0:
            raise DemoFailed(f"{name} ended with {code}:\n{_end_of_log(folder, name)}")
        if code is not None:
            _say(f"{name} was killed ({signal.Signals(-code).name}); starting it again")
            processes[name] = _start(folder, name)


def _end_of_log(folder: Path, name: str) -> str:
    return "\n".join((folder / f"{name}.log").read_text(errors="replace").splitlines()[-15:])


def _await_end(processes: "list[subprocess.Popen[bytes]]") -> None:
    deadline = time.monotonic() + STOP_TIMEOUT
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def _report(tallies: list[Tally]) -> None:
    for tally in tallies:
        tally.update()
    outcome = _outcome(tallies)
    latency = outcome["latency_ms"]
    _say(
        f"{outcome['pushed']} predictions pushed, {outcome['verdicts'].get('accepted', 0)} accepted, "
        f"{outcome['answered'] - outcome['verdicts'].get('accepted', 0)} rejected"
        + (f", p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms" if latency else "")
    )


def _outcome(tallies: list[Tally]) -> dict[str, Any]:
    verdicts: Counter[str | None] = sum((tally.codes for tally in tallies), Counter())
    pushed = verdicts.total()
    unanswered = verdicts.pop(None, 0)
    return {
        "ok": verdicts["accepted"] > 0 and unanswered == 0 and all(tally.connections for tally in tallies),
        "miners": len(tallies),
        "connections": sum(tally.connections for tally in tallies),
        "pushed": pushed,
        "answered": pushed - unanswered,
        "verdicts": dict(verdicts),
        "latency_ms": _percentiles([latency for tally in tallies for latency in tally.latencies]),
    }


def _percentiles(latencies: list[float]) -> dict[str, float] | None:
    if not latencies:
        return None
    ordered = sorted(latencies)
    return {
        "p50": round(statistics.median(ordered), 3),
        "p99": round(ordered[int(0.99 * (len(ordered) - 1))], 3),
    }


def _print_table(tallies: list[Tally], outcome: dict[str, Any]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(title="\nWhat happened", box=SIMPLE, title_justify="left", pad_edge=False)
    table.add_column("miner", no_wrap=True, min_width=max(len(tally.name) for tally in tallies))
    for heading in ("sessions", "updates", "pushed", "accepted", "rejected", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for tally in tallies:
        latency = _percentiles(tally.latencies)
        table.add_row(
            tally.name,
            str(tally.connections),
            str(tally.updates),
            str(tally.codes.total()),
            str(tally.codes["accepted"]),
            str(tally.codes.total() - tally.codes["accepted"] - tally.codes[None]),
            *((f"{latency[p]:.1f}" for p in ("p50", "p99")) if latency else ("-", "-")),
        )
    console = Console()
    console.print(table)
    by_code = ", ".join(f"{count} {code}" for code, count in sorted(outcome["verdicts"].items()))
    console.print(f"verdicts: {by_code or 'none'}", highlight=False)
    if outcome["ok"]:
        console.print(f"every one of {outcome['pushed']} predictions has its verdict", highlight=False)
    else:
        missing = outcome["pushed"] - outcome["answered"]
        console.print(f"FAILED: {missing} of {outcome['pushed']} predictions have no verdict", highlight=False)


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """SIGTERM ends the demo like Ctrl-C does: by an exception that cleans up."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
