"""The commands that ask a running neuron, or read its files. ``main.py`` parses their arguments."""

import argparse
import csv
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
from bettensor.bus.text import chosen, counted, hint, printable
from bettensor.bus.timestamps import parse_rfc3339
from bettensor.neurons.cli import views
from bettensor.neurons.cli.control_client import NotRunning, ask, find_state_dir, refuse_while_it_runs, running_neurons
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
from bettensor.neurons.state_dir import lock_state_dir
from bettensor.neurons.system.locks import NAME, is_held
from bettensor.neurons.system.signals import noted_signals

STOP_PATIENCE = 20.0
"""Seconds that ``stop`` waits for the neuron's process to end."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _neuron(arguments: argparse.Namespace, role: str | None = None) -> Path:
    return find_state_dir(arguments.state_dir, arguments.config, role)


def _status(state_dir: Path, config: Path | None, *, slates: bool = False) -> dict[str, Any]:
    return ask(state_dir, {"ask": "status", "slates": slates}, config=config)


def top(arguments: argparse.Namespace) -> int:
    """The live view of a running neuron; drawn once if standard output is not a terminal."""
    state_dir = _neuron(arguments)
    status = _status(state_dir, arguments.config, slates=arguments.json)
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
            history.append((time.monotonic(), _status(state_dir, arguments.config)))
            del history[:-2]
        (before, earlier), (now, latest) = history[0], history[-1]
        return views.top_view(screen, latest, earlier if now > before else None, max(now - before, 0.1))

    with noted_signals() as came:
        views.live(draw, lambda key: key not in ("q", "Q"), lambda: bool(came))
    return 128 + came[0] if came else 0


def peers(arguments: argparse.Namespace) -> int:
    """The peers of a running neuron; if a peer is not connected, the reason. If several run and none is named, all."""
    if arguments.state_dir is None and arguments.config is None and not arguments.json:
        running = running_neurons()
        if len(running) > 1:
            screen = views.console()
            screen.print(views.neurons_table(running, screen.width))
            screen.print("\n`bettensor peers --state-dir DIR` lists the peers of one of them")
            return 0
    status = _status(_neuron(arguments), arguments.config)
    if arguments.json:
        print(json.dumps(status["peers"], indent=2))
    else:
        screen = views.console()
        screen.print(views.headline(status, screen.width), end="\n\n")
        screen.print(views.peers_table(status, screen.width))
        screen.print(views.peers_legend(status), style="dim")
        for notice in status.get("notices", []):  # the neuron may run an earlier release
            print(printable(notice), file=sys.stderr)
        if status["registered"] is False:
            text = f"this hotkey ({status['hotkey']}) is not in the metagraph, so no peer admits it; {UNREGISTERED}"
            print(text, file=sys.stderr)
        if status["endpoint_doubt"]:
            print(status["endpoint_doubt"], file=sys.stderr)
        for fault in views.file_faults(status):
            print(fault, file=sys.stderr)
    return 0


def games(arguments: argparse.Namespace) -> int:
    """The slate of a running neuron."""
    status = _status(_neuron(arguments), arguments.config, slates=True)
    if arguments.json:
        print(json.dumps(status["slates"], indent=2))
        return 0
    screen = views.console()
    for slate in status["slates"]:
        games_of = f"{counted(len(slate['games']), 'game')} of validator {slate['validator']}"
        screen.print(views.shown(f"{games_of}, game update {slate['offset']}"))
        screen.print(views.games_table(slate, screen.width, arguments.limit), crop=False)  # ids can be copied
    if not status["slates"]:
        screen.print("no games received yet")
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """Send a prediction through the running miner, and wait for the verdicts."""
    question = {"ask": "predict", "game": arguments.game, "outcome": arguments.outcome, "wager": arguments.wager}
    question["placed"] = True
    if arguments.validator is not None:
        question["validator"] = arguments.validator
    state_dir = _neuron(arguments, "miner")
    answer = _with_verdicts(state_dir, question, arguments.config)
    if arguments.json:
        print(json.dumps(answer, indent=2))
    for verdict in answer["verdicts"]:
        took = f" in {verdict['latency_ms']:.1f} ms" if "latency_ms" in verdict else ""
        why = f": {printable(verdict['message'])}" if verdict["message"] else ""
        if not arguments.json:
            print(views.shown(f"{verdict['prediction_id']} {verdict['code']}{took} by {verdict['validator']}{why}"))
    late = answer["without_verdict"]
    if late:
        kept = _kept(answer.get("waiting", []))  # the neuron may run an earlier release
        print(f"no verdict on {counted(late, 'prediction')} after {PATIENCE:g} s; {kept}", file=sys.stderr)
    return 0 if not late and all(verdict["success"] for verdict in answer["verdicts"]) else 1


def _with_verdicts(state_dir: Path, question: dict[str, Any], config: Path | None) -> dict[str, Any]:
    """The miner's answer; says at once which validator is not connected, and at Ctrl-C that the miner goes on."""
    placed: list[dict[str, Any]] = []

    def tell(predictions: list[dict[str, Any]]) -> None:
        placed.extend(predictions)
        for one in predictions:
            if not one["connected"]:
                print(_not_connected(one), file=sys.stderr)

    try:
        with views.progress(f"waiting for the verdict, at most {PATIENCE:g} s"):
            return ask(state_dir, question, PATIENCE + 5, config=config, on_placed=tell)
    except (KeyboardInterrupt, NotRunning) as error:
        if placed or isinstance(error, KeyboardInterrupt):
            print(_kept(placed), file=sys.stderr)
        raise


def _not_connected(placed: dict[str, Any]) -> str:
    return views.shown(
        f"validator {placed['validator']} is not connected: {printable(placed['trouble'])}; prediction "
        f"{placed['prediction_id']} waits in the miner's outbox and is sent when it is"
    )


def _kept(predictions: list[dict[str, Any]]) -> str:
    """What becomes of predictions without a verdict; their ids, if they are known."""
    named = "".join(f" {one['prediction_id']}" for one in predictions)
    which = f"prediction{named}" if len(predictions) <= 1 else f"predictions{named}"
    return (
        f"the miner keeps {which} in its outbox and goes on trying: `bettensor predictions` shows the verdict, "
        "`bettensor peers` why a validator is not connected"
    )


def stop(arguments: argparse.Namespace) -> int:
    """Stop a running neuron gracefully, and wait until its process has ended."""
    state_dir = _neuron(arguments)
    process = ask(state_dir, {"ask": "stop"}, config=arguments.config)["process"]
    deadline = time.monotonic() + STOP_PATIENCE
    with views.progress("waiting for the neuron to stop"):
        while is_held(state_dir / NAME):
            if time.monotonic() > deadline:
                print(f"the neuron (process {process}) has not ended within {STOP_PATIENCE:g} s", file=sys.stderr)
                return 1
            time.sleep(0.05)
    print(f"stopped the neuron (process {process})")
    return 0


def predictions(arguments: argparse.Namespace) -> int:
    """The predictions in a validator's ledger or a miner's outbox; the neuron need not run."""
    file = history_file(_neuron(arguments))
    codes = dict.fromkeys(["none", *VerdictCode])
    if arguments.code not in (None, *codes):
        codes |= dict.fromkeys(filter(None, history_codes(file)))  # a custom actor may give other verdicts
        if arguments.code not in codes:
            expected = ", ".join(codes)
            print(f"bettensor: no verdict is called {arguments.code!r}; expected one of {expected}", file=sys.stderr)
            return 1
    if arguments.proof is not None and file.name != LEDGER:
        raise ConfigurationError("--proof: only with a validator's ledger: a miner's outbox has its own predictions")
    wanted = VerdictFilter(
        peer=None if arguments.hotkey is None else _peer(file, arguments.hotkey),
        code=arguments.code,
        proof=arguments.proof,
        game=arguments.game,
        since=None if arguments.since is None else parse_time(arguments.since, "--since"),
        limit=arguments.limit,
    )
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
        screen.print(views.history_table(found, screen.width, "miner" if file.name == LEDGER else "validator"))
    return 0


def _peer(file: Path, hotkey: str) -> str:
    """The peer that an address, its beginning or its short form names; says on standard error if there is none.

    Raises:
        ConfigurationError: several peers fit.
    """
    peers = history_peers(file)
    fitting = chosen(hotkey, peers)
    if len(fitting) > 1:
        raise ConfigurationError(
            f"--hotkey: several hotkeys fit {hotkey!r}: {', '.join(fitting)}; give more characters of one of them"
        )
    if peers and not fitting:
        print(f"bettensor: {file} has no prediction of {hotkey!r}{hint(hotkey, peers)}", file=sys.stderr)
    return fitting[0] if fitting else hotkey


def ledger(arguments: argparse.Namespace) -> int:
    """Check, back up or restore a ledger."""
    checks_copy = arguments.action == "check" and arguments.file is not None
    file = arguments.file if checks_copy else _neuron(arguments) / LEDGER
    done = ""
    with views.progress("reading every page"):
        if arguments.action == "check":
            report = check_ledger(file)
        elif arguments.action == "backup":
            report = backup_ledger(file, arguments.file)
            done = f"copied {file} to {arguments.file}: "
        else:
            refuse_while_it_runs(file.parent, arguments.config, "validator")
            keep = file.with_name(f"{file.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
            report = _restore(arguments.file, file, keep)
            done = f"restored {arguments.file} as {file}: "
            if keep.exists():
                print(f"the replaced ledger is kept as {keep}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        print(
            f"{done}no damage found: ledger {report.ledger_id}, schema {report.schema}, "
            f"{counted(report.predictions, 'prediction')}, {report.accepted} accepted"
        )
    return 0


def _restore(copy: Path, file: Path, keep: Path) -> LedgerReport:
    """Restore under the folder's lock, so that no validator starts meanwhile."""
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
