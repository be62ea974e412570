"""The commands that ask a running neuron, or read what it has on disk. ``cli.py`` parses; here is what they do."""

import argparse
import csv
import fcntl
import json
import os
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from bettensor.actors.cures import UNREGISTERED
from bettensor.bus.codes import VerdictCode
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.identifiers import Micros
from bettensor.bus.text import nearest, printable
from bettensor.bus.timestamps import parse_rfc3339
from bettensor.neurons.cli import views
from bettensor.neurons.cli.control_client import ask, find_state_dir
from bettensor.neurons.cli.history import (
    COLUMNS,
    LEDGER,
    VerdictFilter,
    history_codes,
    history_file,
    history_peers,
    verdicts,
)
from bettensor.neurons.cli.ledger_file import LedgerReport, backup_ledger, check_ledger, restore_ledger
from bettensor.neurons.edges.control import PATIENCE

STOP_PATIENCE = 20.0
"""Seconds that ``stop`` waits for the end of the neuron."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _neuron(arguments: argparse.Namespace, role: str | None = None) -> Path:
    return find_state_dir(arguments.state_dir, arguments.config, role)


def _status(arguments: argparse.Namespace) -> dict[str, Any]:
    return ask(_neuron(arguments), {"ask": "status"})


def top(arguments: argparse.Namespace) -> int:
    """The live view of a running neuron; once, where nobody can watch."""
    state_dir = _neuron(arguments)
    status = ask(state_dir, {"ask": "status"})
    if arguments.json:
        print(json.dumps(status, indent=2))
        return 0
    if not sys.stdout.isatty():
        screen = views.console()
        screen.print(views.top_view(screen, status))
        return 0
    history = [(time.monotonic(), status)]

    def draw(screen: Console) -> RenderableType:
        if time.monotonic() - history[-1][0] >= 1:
            history.append((time.monotonic(), ask(state_dir, {"ask": "status"})))
            del history[:-2]
        (before, earlier), (now, latest) = history[0], history[-1]
        return views.top_view(screen, latest, earlier if now > before else None, max(now - before, 0.1))

    views.live(draw, lambda key: key not in ("q", "Q"))
    return 0


def peers(arguments: argparse.Namespace) -> int:
    """Who is connected or known, and what keeps the others away."""
    status = _status(arguments)
    if arguments.json:
        print(json.dumps(status["peers"], indent=2))
    else:
        screen = views.console()
        screen.print(views.headline(status), end="\n\n")
        screen.print(views.peers_table(status, screen.width))
        if not status["registered"]:
            text = f"this hotkey ({status['hotkey']}) is not in the metagraph: nobody admits it; {UNREGISTERED}"
            print(text, file=sys.stderr)
        if status["endpoint_doubt"]:
            print(status["endpoint_doubt"], file=sys.stderr)
    return 0


def games(arguments: argparse.Namespace) -> int:
    """The slate of a running neuron."""
    status = _status(arguments)
    if arguments.json:
        print(json.dumps(status["slates"], indent=2))
        return 0
    screen = views.console()
    for slate in status["slates"]:
        screen.print(f"{len(slate['games'])} games of {slate['validator']}, update {slate['offset']}")
        screen.print(views.games_table(slate, screen.width))
    if not status["slates"]:
        screen.print("no slate has come yet")
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """A prediction by hand, through the running miner; waits for the verdicts."""
    question = {"ask": "predict", "game": arguments.game, "outcome": arguments.outcome, "wager": arguments.wager}
    if arguments.validator is not None:
        question["validator"] = arguments.validator
    state_dir = _neuron(arguments, "miner")
    with views.progress("waiting for the verdict"):
        answer = ask(state_dir, question, PATIENCE + 5)
    if arguments.json:
        print(json.dumps(answer, indent=2))
    for verdict in answer["verdicts"]:
        took = f" in {verdict['latency_ms']:.1f} ms" if "latency_ms" in verdict else ""
        why = f": {printable(verdict['message'])}" if verdict["message"] else ""
        if not arguments.json:
            print(f"{verdict['prediction_id']} {verdict['code']}{took} by {verdict['validator']}{why}")
    late = answer["without_verdict"]
    if late:
        text = (
            f"{late} without a verdict after {PATIENCE:g} s; the miner goes on asking, and `bettensor peers` says why"
        )
        print(text, file=sys.stderr)
    return 0 if not late and all(verdict["success"] for verdict in answer["verdicts"]) else 1


def stop(arguments: argparse.Namespace) -> int:
    """Stop a running neuron in good order, and wait for its end."""
    state_dir = _neuron(arguments)
    process = ask(state_dir, {"ask": "stop"})["process"]
    deadline = time.monotonic() + STOP_PATIENCE
    with views.progress("waiting for its end"):
        while not _ended(state_dir):
            if time.monotonic() > deadline:
                print(f"process {process} has not ended within {STOP_PATIENCE:g} s", file=sys.stderr)
                return 1
            time.sleep(0.05)
    print(f"stopped process {process}")
    return 0


def _ended(state_dir: Path) -> bool:
    """Whether nobody holds the folder's lock: it goes with its process, however that ends."""
    with (state_dir / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def predictions(arguments: argparse.Namespace) -> int:
    """The verdicts in a ledger, or in a miner's outbox; the neuron need not run."""
    wanted = VerdictFilter(
        peer=arguments.hotkey,
        code=arguments.code,
        game=arguments.game,
        since=None if arguments.since is None else parse_time(arguments.since, "--since"),
        limit=arguments.limit,
    )
    file = history_file(_neuron(arguments))
    with views.progress("reading the verdicts"):
        found = verdicts(file, wanted)
    if arguments.json:
        print(json.dumps(found, indent=2))
    elif arguments.csv:
        writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    else:
        screen = views.console()
        screen.print(views.history_table(found, screen.width))
    return 0 if found or _explain_nothing(file, wanted) else 1


def _explain_nothing(file: Path, wanted: VerdictFilter) -> bool:
    """Why there is no such verdict; returns whether there could be one."""
    peers = [] if wanted.peer is None else history_peers(file)
    if peers and wanted.peer not in peers:
        near = nearest(str(wanted.peer), peers)
        print(f"bettensor: {file} has nothing of {wanted.peer!r}; the nearest is {near!r}", file=sys.stderr)
    if wanted.code is None:
        return True
    codes = ["none", *VerdictCode, *filter(None, history_codes(file))]  # an actor of one's own may have others
    if wanted.code not in codes:
        near = nearest(wanted.code, codes)
        print(f"bettensor: no verdict is called {wanted.code!r}; the nearest is {str(near)!r}", file=sys.stderr)
    return wanted.code in codes


def ledger(arguments: argparse.Namespace) -> int:
    """Check a ledger, copy it, or put a copy back."""
    state_dir = _neuron(arguments)
    file = state_dir / LEDGER
    with views.progress("reading every page"):
        if arguments.action == "check":
            report = check_ledger(file)
        elif arguments.action == "backup":
            report = backup_ledger(file, arguments.file)
        else:
            keep = file.with_name(f"{file.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
            report = _restore(arguments.file, file, keep)
            if keep.exists():
                print(f"the ledger that was there is kept as {keep}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        print(
            f"nothing wrong: ledger {report.ledger_id}, schema {report.schema}, {report.predictions} predictions, "
            f"{report.accepted} accepted"
        )
    return 0


def _restore(copy: Path, file: Path, keep: Path) -> LedgerReport:
    """While this runs, no validator can start."""
    from bettensor.neurons.neuron import lock_state_dir

    lock = lock_state_dir(file.parent)
    try:
        return restore_ledger(copy, file, keep)
    finally:
        os.close(lock)


def parse_time(text: str, flag: str) -> Micros:
    """``30m``, ``2h``, ``1d``, or a time of RFC 3339."""
    try:
        if text[-1:] in _UNITS and text[:-1].replace(".", "", 1).isdecimal():
            ago = timedelta(**{_UNITS[text[-1]]: float(text[:-1])})
            return Micros(int((datetime.now(UTC) - ago).timestamp() * 1e6))
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{flag}: expected 30s, 15m, 2h, 1d or a time like 2026-12-01T18:00:00Z, not {text!r}"
        ) from None
