"""What became of the demo's predictions, as data and for people."""

import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from bettensor.actors.monitor import LATENCIES
from bettensor.neurons.cli import views
from bettensor.neurons.cli.demo_existing import RELEASE, ExistingPlayer
from bettensor.neurons.cli.demo_files import VISITOR
from bettensor.neurons.cli.demo_subnet import Demo, latency_of
from bettensor.neurons.cli.history import history_file, history_proofs
from bettensor.neurons.cli.screen import ShownText as Text


def outcome_of(demo: Demo) -> dict[str, Any]:
    """What became of every prediction, as plain data."""
    codes: Counter[str | None] = sum((miner.codes for miner in demo.betting), Counter())
    for code, count in demo.visitor.codes.items():
        codes[code] += count
    pushed = codes.total()
    unanswered = codes.pop(None, 0)
    return {
        "ok": codes["accepted"] > 0 and unanswered == 0 and all(miner.has_begun() for miner in demo.betting),
        "miners": len(demo.miners),
        "existing": [_existing(miner, demo) for miner in demo.existing],
        "restarts": sum(player.restarts for player in demo.players),
        "pushed": pushed,
        "answered": pushed - unanswered,
        "verdicts": dict(codes),
        "latency_ms": latency_of(demo),
        "faults": [fault.as_json() for fault in demo.faults],
        "rules_broken_on_purpose": [offence.as_json() for offence in demo.visitor.offences],
    }


def _existing(miner: ExistingPlayer, demo: Demo) -> dict[str, Any]:
    ledger = history_file(demo.validator.state_dir)
    return {
        "name": miner.name,
        "bittensor": RELEASE,
        "transport": "synapse" if miner.was_asked else None,
        "proof": history_proofs(ledger, miner.hotkey),
        "verdicts": dict(miner.judged()),
    }


def print_outcome(demo: Demo, outcome: dict[str, Any]) -> None:
    """The outcome, for people."""
    numbers = ("pushed", "accepted", "rejected", "p50 ms", "p99 ms", "restarts")
    table = views.plain_table("miner", *numbers, right=numbers)
    for miner in demo.betting:
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
    if demo.existing:
        proofs = sorted({proof for existing in outcome["existing"] for proof in existing["proof"]})
        told = f"proof of whose a prediction is: {', '.join(proofs) or 'none'}"
        screen.print(f"existing miners run with bittensor {RELEASE}, and are asked via Synapse; {told}", style="dim")
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
