"""One attack from its beginning to its end: honest work alone, honest work beside the attack, and what is left."""

import asyncio
import contextlib
import multiprocessing
import os
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from bettensor.neurons.system.processes import allow_open_files
from tests.attacks.attack import Attack, Force, Form, Outcome, Reading, is_given_back
from tests.attacks.grounds import GROUNDS, Ground
from tests.attacks.probes import SAMPLING, Probe, asking_for_health
from tests.attacks.target import Target
from tests.loopback.processes import PRELOADED

NICE: Final = 10
"""The attackers' process leaves the core to the honest miners' if both want it: theirs is not under test."""
GIVING_BACK: Final = 5.0
"""Seconds after the last answer in which a neuron must give back what the attack took."""
GRACE: Final = 20.0
"""Seconds after its time in which an attack must have ended by itself."""

_nursery = multiprocessing.get_context("forkserver")
_nursery.set_forkserver_preload([*PRELOADED, "tests.attacks.catalogue"])


class AttackFailed(Exception):
    """The attackers' process did not do what it should: a fault of the harness."""


async def run(attack: Attack, form: Form, folder: Path) -> Outcome:
    """Try one attack on a fresh neuron, in a new or empty ``folder``.

    Raises:
        AttackFailed: the attack is broken.
    """
    async with GROUNDS[attack.role](folder, attack.slate(form), attack.changes) as ground:
        return await _measure(attack, form, ground)


async def _measure(attack: Attack, form: Form, ground: Ground) -> Outcome:
    probe, honest, force = ground.probe, ground.honest, attack.force(form)
    begun = ground.now()
    first = probe.read()
    await asyncio.sleep(form.normal)
    before, met = probe.read(), ground.now()
    async with probe.looking(), _health(attack, ground) as health:
        answers = await _strike(attack, ground.target, force)
        ended, cpu = ground.now(), probe.read().cpu_seconds
        await asyncio.sleep(form.after)
        recorded, watched = probe.recorded_since(before), ground.now() - met
    await honest.settle()
    normal, during = honest.fared(begun, met), honest.fared(met, ended)  # at once: they go on sending
    after = await _last_reading(attack, probe, before)
    quietly = (before.recorded_mb - first.recorded_mb) / (met - begun)
    stop_seconds, exit_code = await ground.neuron.stop()
    return Outcome(
        answers=answers,
        seconds=ended - met,
        before=before,
        after=after,
        most_descriptors=probe.most_descriptors,
        recorded_mb=max(0.0, recorded - quietly * watched),
        cpu_share=(cpu - before.cpu_seconds) / (ended - met),
        normal=normal,
        during=during,
        health=Counter(health),
        log=probe.log(),
        stop_seconds=stop_seconds,
        exit_code=exit_code,
    )


async def _last_reading(attack: Attack, probe: Probe, before: Reading) -> Reading:
    deadline = time.monotonic() + GIVING_BACK
    while not is_given_back(attack, before, now := probe.read()) and time.monotonic() < deadline:  # noqa: ASYNC110 - /proc has no event
        await asyncio.sleep(SAMPLING)
    return now


def _health(attack: Attack, ground: Ground) -> "contextlib.AbstractAsyncContextManager[Counter[str]]":
    if attack.role == "validator":
        return asking_for_health(ground.target.port)
    return contextlib.nullcontext(Counter())


async def _strike(attack: Attack, target: Target, force: Force) -> Counter[str]:
    receiver, sender = _nursery.Pipe(duplex=False)
    process = _nursery.Process(target=_attack, args=(attack.name, target, force, sender), daemon=True)
    process.start()
    sender.close()
    try:
        answers = await asyncio.to_thread(_receive, receiver, force.seconds + GRACE)
    finally:
        process.kill()
        process.join()
    if isinstance(answers, str):
        raise AttackFailed(answers)
    return answers


def _receive(receiver: Connection, patience: float) -> Counter[str] | str:
    if not receiver.poll(patience):
        return f"the attack has not ended {patience:.0f} s after its beginning"
    try:
        received: Counter[str] | str = receiver.recv()
    except EOFError:
        return "the attackers' process has ended"
    return received


def _attack(name: str, target: Target, force: Force, sender: Connection) -> None:
    from tests.attacks.catalogue import ATTACKS

    os.nice(NICE)
    allow_open_files()
    try:
        sender.send(asyncio.run(ATTACKS[name].strike(target, force)))
    except BaseException:  # noqa: BLE001 - whatever it is, the range must hear of it
        sender.send(traceback.format_exc())
