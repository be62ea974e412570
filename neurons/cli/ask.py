"""The commands that ask a running neuron, or read its files. ``main.py`` parses their arguments."""

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
from bettensor.bus.text import counted, hint, printable
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
"""Seconds that ``stop`` waits for the neuron's process to end."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _neuron(arguments: argparse.Namespace, role: str | None = None) -> Path:
    return find_state_dir(arguments.state_dir, arguments.config, role)


def _status(state_dir: Path, *, slates: bool = False) -> dict[str, Any]:
    return ask(state_dir, {"ask": "status", "slates": slates})


def top(arguments: argparse.Namespace) -> int:
    """The live view of a running neuron; drawn once if standard output is not a terminal."""
    state_dir = _neuron(arguments)
    status = _status(state_dir, slates=arguments.json)
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
            history.append((time.monotonic(), _status(state_dir)))
            del history[:-2]
        (before, earlier), (now, latest) = history[0], history[-1]
        return views.top_view(screen, latest, earlier if now > before else None, max(now - before, 0.1))

    views.live(draw, lambda key: key not in ("q", "Q"))
    return 0


def peers(arguments: argparse.Namespace) -> int:
    """The peers of a running neuron; if a peer is not connected, the reason."""
    status = _status(_neuron(arguments))
    if arguments.json:
        print(json.dumps(status["peers"], indent=2))
    else:
        screen = views.console()
        screen.print(views.headline(status), end="\n\n")
        screen.print(views.peers_table(status, screen.width))
        screen.print(views.peers_legend(status), style="dim")
        if not status["registered"]:
            text = f"this hotkey ({status['hotkey']}) is not in the metagraph, so no peer admits it; {UNREGISTERED}"
            print(text, file=sys.stderr)
        if status["endpoint_doubt"]:
            print(status["endpoint_doubt"], file=sys.stderr)
        for fault in views.file_faults(status):
            print(fault, file=sys.stderr)
    return 0


def games(arguments: argparse.Namespace) -> int:
    """The slate of a running neuron."""
    status = _status(_neuron(arguments), slates=True)
    if arguments.json:
        print(json.dumps(status["slates"], indent=2))
        return 0
    screen = views.console()
    for slate in status["slates"]:
        screen.print(
            f"{counted(len(slate['games']), 'game')} of validator {slate['validator']}, offset {slate['offset']}"
        )
        screen.print(views.games_table(slate, screen.width))
    if not status["slates"]:
        screen.print("no games received yet")
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """Send a prediction through the running miner, and wait for the verdicts."""
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
        text = f"no verdict on {counted(late, 'prediction')} after {PATIENCE:g} s; the miner keeps trying"
        text += ", and `bettensor peers` says why"
        print(text, file=sys.stderr)
    return 0 if not late and all(verdict["success"] for verdict in answer["verdicts"]) else 1


def stop(arguments: argparse.Namespace) -> int:
    """Stop a running neuron gracefully, and wait until its process has ended."""
    state_dir = _neuron(arguments)
    process = ask(state_dir, {"ask": "stop"})["process"]
    deadline = time.monotonic() + STOP_PATIENCE
    with views.progress("waiting for the neuron to stop"):
        while not _ended(state_dir):
            if time.monotonic() > deadline:
                print(f"the neuron (process {process}) has not ended within {STOP_PATIENCE:g} s", file=sys.stderr)
                return 1
            time.sleep(0.05)
    print(f"stopped the neuron (process {process})")
    return 0


def _ended(state_dir: Path) -> bool:
    """Whether no process holds the folder's lock: the kernel releases it when its process ends, in any way."""
    with (state_dir / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def predictions(arguments: argparse.Namespace) -> int:
    """The predictions in a validator's ledger or a miner's outbox; the neuron need not run."""
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
    """Say on standard error why no prediction matches; returns whether one could."""
    peers = [] if wanted.peer is None else history_peers(file)
    if peers and wanted.peer not in peers:
        fault = f"{file} has no prediction of {wanted.peer!r}{hint(str(wanted.peer), peers)}"
        print(f"bettensor: {fault}", file=sys.stderr)
    if wanted.code is None:
        return True
    codes = dict.fromkeys(
        ["none", *VerdictCode, *filter(None, history_codes(file))]
    )  # a custom actor may give other verdicts
    if wanted.code not in codes:
        print(f"bettensor: no verdict is called {wanted.code!r}{hint(wanted.code, codes)}", file=sys.stderr)
    return wanted.code in codes


def ledger(arguments: argparse.Namespace) -> int:
    """Check, back up or restore a ledger."""
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
                print(f"the replaced ledger is kept as {keep}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        print(
            f"no damage found: ledger {report.ledger_id}, schema {report.schema}, "
            f"{counted(report.predictions, 'prediction')}, {report.accepted} accepted"
        )
    return 0


def _restore(copy: Path, file: Path, keep: Path) -> LedgerReport:
    """Restore under the folder's lock, so that no validator starts meanwhile."""
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
