"""Replays: of every story, from any checkpoint, and of what no actor should do; and what other actors would decide."""

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bettensor.actors.actor import Actor, on
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BadEventLog, ConfigurationError
from bettensor.bus.eventlog import ActorCheckpoint, Checkpoint, Header, LogWriter
from bettensor.bus.events import (
    CommitRequested,
    NeuronStarted,
    PredictionAccepted,
    SessionActivated,
    SettingsReloaded,
    TimerFired,
    TimerKey,
    VerdictReceived,
    WriteRequested,
)
from bettensor.bus.identifiers import SECOND, Hotkey, Micros
from bettensor.bus.messages import ErrorMessage
from bettensor.bus.replay import Difference
from bettensor.bus.upcasts import UPCASTS, runs_were_of_0_1
from bettensor.neurons.cli.main import main
from bettensor.neurons.edges.recorder import last_hash
from bettensor.neurons.pytest_plugin import SUFFIX
from bettensor.neurons.recordings import recording as module
from bettensor.neurons.recordings.recording import Recording, Replayed, ReplayedEvent, log_files, saving
from bettensor.neurons.recordings.text import explain, explain_replay
from bettensor.neurons.simulation import (
    SimulatedMiner,
    SimulatedNetwork,
    SimulatedNeuron,
    SimulatedValidator,
    make_game,
)
from bettensor.neurons.simulation import neuron as simulated
from tests.neurons import planted
from tests.stories import RECORDINGS, STORIES, Subnet
from tests.support import NOW, Injected

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", STORIES)
def test_a_story_still_ends_well_and_its_recording_is_there(name: str) -> None:
    told = list(STORIES[name]())
    assert told
    for neuron in told:
        recorded = RECORDINGS / f"{name}.{neuron.role}.recording.jsonl"
        with Recording(recorded) as recording:
            topics = [row.topic for row in recording.rows()]
        assert topics == [envelope.event.topic for envelope in neuron.envelopes], "run: python -m tests.stories"


# --- any session, cut anywhere


def live(subnet: Subnet, action: str, amount: float) -> None:
    """One thing that happens, and some time."""
    ACTIONS[action](subnet, amount)
    subnet.advance(amount / 7)


def predict(subnet: Subnet, amount: float) -> None:
    number = len(subnet.validator.envelopes) + len(subnet.miner.envelopes)
    subnet.miner.predict(f"p{number}", subnet.validator.hotkey, wager=amount)


def toggle(hotkeys: set[Hotkey], hotkey: Hotkey) -> None:
    hotkeys ^= {hotkey}


def hold_the_disk(subnet: Subnet, amount: float) -> None:
    subnet.validator.ledger.held = amount > 30
    if amount <= 30:
        subnet.validator.ledger.release()


ACTIONS: dict[str, Callable[[Subnet, float], object]] = {
    "predict": predict,
    "move odds": lambda subnet, amount: subnet.validator.offer(make_game(team_a_odds=1.5 + amount / 100)),
    "cut": lambda subnet, _: subnet.cut(subnet.miner),
    "freeze": lambda subnet, _: subnet.freeze(subnet.miner),
    "block": lambda subnet, _: toggle(subnet.blocked, subnet.miner.hotkey),
    "vanish": lambda subnet, _: toggle(subnet.unreachable, subnet.miner.hotkey),
    "blacklist": lambda subnet, amount: subnet.validator.blacklist(*[subnet.miner.hotkey][: round(amount / 60)]),
    "hold the disk": hold_the_disk,
    "reload": lambda subnet, amount: subnet.validator.reload("prediction", daily_wager_limit=2 * amount),
    "step the clock": lambda subnet, amount: subnet.clock.step_wall(Micros(round((amount - 30) * SECOND))),
}
sessions = st.lists(st.tuples(st.sampled_from(list(ACTIONS)), st.floats(0.01, 60)), min_size=2, max_size=12)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(session=sessions, cut=st.integers(0, 11), torn=st.floats(0, 1))
def test_a_recording_that_begins_with_a_checkpoint_anywhere_and_ends_anywhere_replays_equal(
    session: list[tuple[str, float]], cut: int, torn: float
) -> None:
    subnet = Subnet()
    neurons: tuple[SimulatedNeuron, ...] = (subnet.validator, subnet.miner)
    checkpoints: list[Checkpoint] = []
    for step, (action, amount) in enumerate(session):
        if step == cut % len(session):
            checkpoints = [neuron.checkpoint() for neuron in neurons]
        live(subnet, action, amount)
    with TemporaryDirectory() as folder:
        for neuron, checkpoint in zip(neurons, checkpoints, strict=True):
            whole, rest = Path(folder, "whole.jsonl"), Path(folder, "rest.jsonl")
            neuron.save(whole)
            with saving(rest, neuron.header, checkpoint) as record:
                for envelope in neuron.envelopes:
                    if envelope.seq > checkpoint.seq:
                        record(envelope)
            for file in (whole, rest):
                assert_equal(file)
                tear(file, torn)
                assert_equal(file)
            neuron.save(whole)
            thin(whole)
            tear(whole, torn)
            assert_equal(whole)


def assert_equal(file: Path) -> None:
    replayed = Recording(file).replay()
    assert replayed.equal, explain_replay(replayed)


def tear(file: Path, torn: float) -> None:
    """Leave a part of what comes after the first two lines, as a neuron does that is killed while it writes."""
    first, second, rest = file.read_bytes().split(b"\n", 2)
    file.write_bytes(first + b"\n" + second + b"\n" + rest[: round(torn * len(rest))])


@pytest.mark.slow
def test_a_day_of_trouble_ends_with_one_verdict_each_and_replays_equal(tmp_path: Path) -> None:
    network = SimulatedNetwork(jitter=Micros(20_000), seed=5)
    validator = SimulatedValidator(clock=network.clock, settings={"actors": {"prediction": {"daily_wager_limit": 1e6}}})
    miners = [SimulatedMiner(f"miner{i}", network.clock, seed=i) for i in range(2)]
    network.add(validator, *miners)
    game = make_game(event_start_date="2026-07-01T00:00:00.000000Z")
    validator.offer(game)
    for hour in range(24):
        for number, miner in enumerate(miners):
            miner.predict(f"{miner.role}-{number}-{hour}", validator.hotkey, game, wager=1.0)
            (network.cut, network.freeze, lambda _: None)[(hour + number) % 3](miner)
        network.blocked ^= {miners[hour % 2].hotkey}
        network.advance(3600)
    network.blocked.clear()
    network.advance(600)
    for miner in miners:
        verdicts = miner.all(VerdictReceived)
        assert sorted(v.prediction.prediction_id for v in verdicts) == sorted(
            f"miner-{miners.index(miner)}-{hour}" for hour in range(24)
        )
        assert {verdict.code for verdict in verdicts} == {"accepted"}
    neurons: tuple[SimulatedNeuron, ...] = (validator, *miners)
    for neuron in neurons:
        neuron.save(tmp_path / "day.jsonl")
        assert Recording(tmp_path / "day.jsonl").replay().equal


# --- actors whose decisions are no function of events


def recorded(tmp_path: Path, actor: type[planted.Planted]) -> Path:
    settings = {"actors": {actor.name: {"class": f"tests.neurons.planted:{actor.__name__}"}}}
    neuron = SimulatedMiner(settings=settings)
    neuron.start()
    neuron.bus.publish(TimerFired(actor.name, "now", None))
    neuron.save(tmp_path / "planted.jsonl")
    return tmp_path / "planted.jsonl"


@pytest.mark.parametrize(
    ("actor", "said"), [(planted.ReadsTheTime, "it is"), (planted.DrawsAnId, "this is"), (planted.MakesUpTheWorld, "")]
)
def test_an_actor_that_knows_more_than_its_events_is_caught(
    tmp_path: Path, actor: type[planted.Planted], said: str
) -> None:
    file = recorded(tmp_path, actor)
    replayed = Recording(file).replay()
    assert replayed.difference is not None
    text = explain(replayed.difference, replayed.trail)
    assert said in text
    assert f"timer_fired  owner={actor.name}" in text


def test_an_actor_that_iterates_over_a_set_is_caught_by_another_process(tmp_path: Path) -> None:
    file = recorded(tmp_path, planted.IteratesOverASet)
    codes = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "bettensor.neurons", "replay", str(file), "--import", "tests"],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        )
        codes.add(done.returncode)
        if done.returncode:
            assert "line_logged, recorded -> replayed:" in done.stdout
    assert codes in ({1}, {0, 1})


def test_an_async_handler_is_refused_when_its_actor_is_written() -> None:
    with pytest.raises(TypeError, match=r"Late.say is async: a handler decides at once"):

        class Late(Actor):
            name = "late"

            @on(TimerFired)  # type: ignore[type-var]
            async def say(self, *_: object) -> None:
                await asyncio.sleep(0)


# --- what other actors would have decided

STRICT = {"prediction": "tests.neurons.planted:StrictPredictionActor"}


@pytest.fixture
def subnet() -> Subnet:
    subnet = Subnet()
    subnet.predict("small", wager=4.0)
    subnet.predict("large", wager=6.0)
    return subnet


@pytest.mark.parametrize("record", ["all", "observed"])
def test_what_a_stricter_actor_would_have_decided(tmp_path: Path, subnet: Subnet, record: str) -> None:
    file = tmp_path / "log.jsonl"
    subnet.validator.save(file)
    if record == "observed":
        thin(file)
    what_if = Recording(file).what_if(STRICT)
    proposals = [
        change
        for change in what_if.changes
        if change.replayed is not None and isinstance(change.replayed.event, CommitRequested)
    ]
    assert len(proposals) == 1
    text = explain(proposals[0])
    assert "proposals[0].code: accepted -> invalid_wager" in text
    assert what_if.unchanged > 30
    assert len(what_if.changes) < 10
    assert Recording(file).what_if({}).changes == ()


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("tests.neurons.planted:Nameless", "has no `name`; give it the name of the actor that it replaces"),
        (
            "bettensor.actors.miner.reconnect:ReconnectActor",
            "no actor of this log is called 'reconnect'; the nearest is",
        ),
    ],
)
def test_an_actor_in_nobodys_place_is_refused(
    tmp_path: Path, subnet: Subnet, capsys: pytest.CaptureFixture[str], spec: str, fault: str
) -> None:
    subnet.validator.save(tmp_path / "log.jsonl")
    assert main(["replay", str(tmp_path / "log.jsonl"), "--with", spec]) == 2
    assert fault in capsys.readouterr().err


def thin(file: Path, actors: dict[str, Any] | None = None) -> None:
    """Leave of a recording what was observed; and as if there had been other ``actors``."""
    recording = Recording(file)
    settings = recording.header.settings | ({} if actors is None else {"actors": actors})
    writer = LogWriter(replace(recording.header, record="observed", settings=settings))
    first = writer.first
    observed = (row for row in recording.rows() if row.observed)
    rows = [writer.row(Envelope(row.seq, row.at, row.mono, row.causes, row.event)) for row in observed]
    assert recording.reader.sealed is not None
    end = writer.seal(recording.reader.sealed.seal.seq, NOW, "saved", lambda _: b"")
    file.write_bytes(b"".join([first, *rows, end]))


@pytest.mark.parametrize("record", ["all", "observed"])
def test_a_log_is_decided_again_event_by_event_while_it_is_read(tmp_path: Path, subnet: Subnet, record: str) -> None:
    file = tmp_path / "log.jsonl"
    subnet.validator.save(file)
    if record == "observed":
        thin(file)
    recording = Recording(file)
    compared: list[Replayed] = []

    def events() -> Iterator[ReplayedEvent]:
        compared.append((yield from recording.decided()))

    reading = events()
    first = next(reading)
    assert (first.row.topic, first.actor) == ("neuron_started", "")
    assert recording.reader.sealed is None  # the rest is not read yet
    seen = [first, *reading]
    assert compared[0].equal
    assert [event.row.seq for event in seen] == [envelope.seq for envelope in subnet.validator.envelopes]
    assert [event.row.event for event in seen] == [envelope.event for envelope in subnet.validator.envelopes]
    assert {event.actor for event in seen if event.row.topic == "prediction_accepted"} == {"prediction"}
    assert all((event.actor == "") == event.row.observed for event in seen)


def test_decisions_that_are_new_or_missing_do_not_lead_astray(tmp_path: Path, subnet: Subnet) -> None:
    file = tmp_path / "log.jsonl"
    subnet.validator.save(file)
    silent = Recording(file).what_if({"logbook": "tests.neurons.planted:WritesNothing"})
    kinds = {(change.recorded is None, change.replayed is None) for change in silent.changes}
    assert (False, True) in kinds  # the logbook's lines, that nobody writes now
    accepted: list[Any] = []
    Recording(file).what_if({"logbook": "tests.neurons.planted:WritesNothing"}, accepted.append)
    assert sum(isinstance(envelope.event, PredictionAccepted) for envelope in accepted) == 2


def test_observed_alone_shows_another_message_and_another_number_of_decisions(tmp_path: Path, subnet: Subnet) -> None:
    file = tmp_path / "log.jsonl"
    subnet.validator.save(file)
    thin(file)
    assert Recording(file).replay().equal
    changed = file.read_bytes().replace(b'"prediction":{}', b'"prediction":{"daily_wager_limit":5.0}', 1)
    file.write_bytes(changed)
    replayed = Recording(file, chained=False).replay()
    assert replayed.difference is not None


def test_a_decision_too_many_after_the_last_observation_is_found(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    neuron = SimulatedMiner()
    neuron.start()
    neuron.bus.publish(TimerFired("nobody", "now", None))
    neuron.save(file)
    thin(file, {"iterates_over_a_set": {"class": "tests.neurons.planted:IteratesOverASet"}})
    replayed = Recording(file).replay()
    assert (replayed.equal, replayed.difference) == (False, None)
    assert explain_replay(replayed) == "somewhere: 1 decision more than recorded"


# --- recordings of an earlier format


def limits_were_called_otherwise(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What was ``limit_a_day`` in format 0 is ``daily_wager_limit``, in the header and in checkpoints."""
    settings = event.get("settings" if topic == "header" else "actors", {})
    for section in (settings.get("actors", {}).get("prediction"), settings.get("prediction", {}).get("settings")):
        if section and "limit_a_day" in section:
            section["daily_wager_limit"] = section.pop("limit_a_day")
    return topic, event


def timers_rang(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What was ``timer_rang`` in format 0 is ``timer_fired`` in format 1."""
    return ("timer_fired", event) if topic == "timer_rang" else (topic, event)


ONE_TIMER = ("heartbeat", "logbook", "model", "reconnect")
"""Actors that have timers of one name, which format 1 did not say."""


def in_format_1(body: bytes) -> bytes:
    """A timer's name and key in one string, and the parts of an actor's health by themselves."""
    row = json.loads(body + b"}")
    if row.get("topic", "").startswith("timer_"):
        row["event"] = timer_in_format_1(**row["event"])
    for actor in row.get("checkpoint", {"actors": {}})["actors"].values():
        actor["state"] |= actor["state"].pop("health", {})
    return json.dumps(row, separators=(",", ":")).encode()[:-1]


def timer_in_format_1(owner: str, timer: str, key: TimerKey, **deadline: int) -> dict[str, Any]:
    about = " ".join(key) if isinstance(key, list) else str(key)
    name = {"announce": "again", "repeat": "again", "sync": "reading"}.get(timer, timer)
    named = name if key is None else f"{name} {about}"
    return {"owner": owner, "key": about if owner in ONE_TIMER else named, **deadline}


def make_older(body: bytes) -> bytes:
    """As if format 0 had been written, which had other names."""
    body = in_format_1(body).replace(b'"format":2', b'"format":0').replace(b"daily_wager_limit", b"limit_a_day")
    return body.replace(b'"topic":"timer_fired"', b'"topic":"timer_rang"')


def rewrite(file: Path, change: Callable[[bytes], bytes]) -> None:
    """Put another line in the place of each, with the hash that it needs."""
    written, before = [], ""
    for line in file.read_bytes().splitlines():
        body = change(line[:-75])
        if body.startswith(b'{"seal"'):
            body = body.replace(line[line.index(b'"hash":"') + 8 :][:64], before.encode(), 1)
        before = sha256(before.encode() + body).hexdigest()
        written.append(body + b',"hash":"%b"}\n' % before.encode())
    file.write_bytes(b"".join(written))


@pytest.fixture
def of_0_1_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated neurons decide as in release 0.1.0."""
    monkeypatch.setattr(simulated, "NeuronStarted", partial(NeuronStarted, is_of_0_1=True))


@pytest.mark.usefixtures("of_0_1_0")
@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_a_recording_of_an_earlier_format_is_replayed_and_kept_in_todays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, from_checkpoint: bool
) -> None:
    subnet = Subnet(daily_wager_limit=10.0)
    checkpoint = subnet.validator.checkpoint() if from_checkpoint else None
    begun = len(subnet.validator.envelopes) if from_checkpoint else 0
    for name in ("most", "too-much"):
        subnet.predict(name, wager=6.0)
    subnet.advance(100)
    file = tmp_path / f"old{SUFFIX}"
    with saving(file, subnet.validator.header, checkpoint) as record:
        for envelope in subnet.validator.envelopes[begun:]:
            record(envelope)
    rewrite(file, make_older)
    with pytest.raises(BadEventLog, match="line 1: format 0 is too old: there is no upcast from it"):
        Recording(file)
    monkeypatch.setitem(UPCASTS, 0, (limits_were_called_otherwise, timers_rang))
    recording = Recording(file)
    with saving(tmp_path / "today", recording.header, recording.reader.checkpoint) as record:
        assert recording.replay(record).equal
    monkeypatch.undo()
    assert Recording(tmp_path / "today").replay().equal
    monkeypatch.setitem(UPCASTS, 0, (lambda topic, event: (topic, event["no"]),))
    with pytest.raises(BadEventLog, match=r"line 1: not a header of format 0: KeyError\('no'\)"):
        Recording(file)


NOT_IN_FORMAT_1 = {
    rb'"format":2': b'"format":1',
    rb',"pins_schemes":false': b"",
    rb',"is_of_0_1":true': b"",
    rb'"is_of_0_1":true,': b"",
    rb',"listed":\{[^}]*\}': b"",
    rb',"schemes":\{[^}]*\}': b"",
    rb'"schemes":\{[^}]*\},': b"",
    rb'"auth":\{"schemes":\{\}\},': b"",
    rb',"auth":\{"schemes":\{\}\}': b"",
    rb'("axon":(?:null|"[^"]*")),"crypto":(?:null|"[^"]*")': rb"\1",
    rb'("remote":"[^"]*"),"scheme":"[^"]*"': rb"\1",
    rb'("topic":"request_verification_requested".*),"scheme":"[^"]*"': rb"\1",
}


def make_of_0_1_0(body: bytes) -> bytes:
    """As release 0.1.0 wrote, in which no scheme was pinned."""
    body = in_format_1(body)
    for pattern, before in NOT_IN_FORMAT_1.items():
        body = re.sub(pattern, before, body)
    return body


@pytest.mark.usefixtures("of_0_1_0")
@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_a_recording_of_0_1_0_is_decided_by_the_schemes_that_peers_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, from_checkpoint: bool
) -> None:
    network = SimulatedNetwork()
    validator = SimulatedValidator(clock=network.clock, scheme="ed25519")
    miner = SimulatedMiner(clock=network.clock, scheme="ed25519")
    network.add(validator, miner)
    validator.offer(make_game())
    network.advance(5)
    checkpoints = {neuron: (len(neuron.envelopes), neuron.checkpoint()) for neuron in (validator, miner)}
    miner.predict("p", validator.hotkey)
    network.cut(miner)
    network.advance(30)
    assert len(miner.all(SessionActivated)) == 2
    for neuron in (validator, miner):
        begun, checkpoint = checkpoints[neuron] if from_checkpoint else (0, None)
        file = tmp_path / f"{neuron.role}{SUFFIX}"
        with saving(file, neuron.header, checkpoint) as record:
            for envelope in neuron.envelopes[begun:]:
                record(envelope)
        rewrite(file, make_of_0_1_0)
        assert b"schemes" not in file.read_bytes()
        recording = Recording(file)
        with saving(tmp_path / "today", recording.header, recording.reader.checkpoint) as record:
            assert recording.replay(record).equal
        assert Recording(tmp_path / "today").replay().equal
        with monkeypatch.context() as patch:
            others = tuple(upcast for upcast in UPCASTS[1] if upcast is not runs_were_of_0_1)
            patch.setitem(UPCASTS, 1, others)
            assert not Recording(file).replay().equal  # if schemes are pinned, nobody is believed


def test_what_is_not_saved_to_its_end_leaves_nothing_behind(tmp_path: Path, subnet: Subnet) -> None:
    with suppress(BadEventLog), saving(tmp_path / "log.jsonl", subnet.validator.header) as record:
        record(subnet.validator.envelopes[0])
        raise BadEventLog("enough")
    assert list(tmp_path.iterdir()) == []


# --- what cannot be replayed


def edited(
    tmp_path: Path,
    subnet: Subnet,
    edit: Callable[[Header], Header],
    checkpoint: Any = None,
    imports: Sequence[str] = (),
) -> Recording:
    with saving(tmp_path / "log.jsonl", edit(subnet.validator.header), checkpoint) as record:
        for envelope in subnet.validator.envelopes:
            record(envelope)
    return Recording(tmp_path / "log.jsonl", imports=imports)


def test_a_log_of_other_settings_says_which(tmp_path: Path, subnet: Subnet) -> None:
    recording = edited(tmp_path, subnet, lambda h: replace(h, settings=h.settings | {"warp": 9}))
    with pytest.raises(BadEventLog, match=r"log.jsonl: recorded under settings .*: .*warp: there is no such key"):
        recording.replay()


def test_a_log_with_events_of_a_module_that_is_not_here_says_so(tmp_path: Path, subnet: Subnet) -> None:
    modules = ("no_such_subnet.events",)
    recording = edited(tmp_path, subnet, lambda h: replace(h, modules=modules), imports=modules)
    with pytest.raises(BadEventLog, match=r"has events of no_such_subnet.events, which cannot be imported here"):
        recording.replay()


def test_modules_in_the_working_directory_are_found(
    tmp_path: Path, subnet: Subnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bulletins_of_a_subnet.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    modules = ("bulletins_of_a_subnet",)
    assert edited(tmp_path, subnet, lambda h: replace(h, modules=modules), imports=modules).replay().equal


def test_a_log_with_an_actor_that_is_not_here_says_so(tmp_path: Path, subnet: Subnet) -> None:
    actors = {"mine": {"class": "no_such_subnet.actors:Mine"}}
    of_another = replace(subnet.validator.header, settings=subnet.validator.header.settings | {"actors": actors})
    recording = edited(tmp_path, subnet, lambda _: of_another, imports=["no_such_subnet"])
    with pytest.raises(
        BadEventLog, match=r"log.jsonl: recorded under settings that .*actors.mine.class.*no_such_subnet"
    ):
        recording.replay()
    with pytest.raises(ConfigurationError, match=r"no_such_subnet"):
        edited(tmp_path, subnet, lambda h: h).what_if({"prediction": "no_such_subnet.actors:Mine"})


HOSTILE = """
from pathlib import Path

Path(__file__).with_name("ran").touch()
"""


@pytest.mark.parametrize(
    "edit",
    [
        lambda h: replace(h, modules=("hostile_module",)),
        lambda h: replace(h, settings=h.settings | {"actors": {"prediction": {"class": "hostile_module:Mine"}}}),
        lambda h: replace(h, settings=h.settings | {"actors": {"mine": {"class": "hostile_module:Mine"}}}),
    ],
    ids=["events", "an actor in the place of ours", "another actor"],
)
def test_a_log_imports_nothing_that_was_not_named(
    tmp_path: Path, subnet: Subnet, monkeypatch: pytest.MonkeyPatch, edit: Callable[[Header], Header]
) -> None:
    (tmp_path / "hostile_module.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "hostile_module", raising=False)
    recording = edited(tmp_path, subnet, edit)
    with pytest.raises(
        BadEventLog, match=r"made with code of hostile_module, .* add --import hostile_module if you trust this code"
    ):
        recording.replay()
    with pytest.raises(BadEventLog, match="--import hostile_module"):
        edited(tmp_path, subnet, edit, imports=["hostile", "hostile_module.inner"]).replay()
    assert main(["replay", str(tmp_path / "log.jsonl")]) == 1
    assert main(["trace", str(tmp_path / "log.jsonl"), "p"]) == 1
    assert main(["log", str(tmp_path / "log.jsonl"), "--event", "prediction_*"]) in (0, 1)
    assert main(["audit", str(tmp_path / "log.jsonl")]) in (0, 1)
    assert not (tmp_path / "ran").exists()
    with suppress(BadEventLog):  # it has no such actor
        edited(tmp_path, subnet, edit, imports=["hostile_module"]).replay()
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "cls", ["os:system", "bettensor.__main__:x", "bettensor.neurons.__main__:x", "bettensor.bus:on"]
)
def test_a_log_calls_nothing_that_is_no_actor(tmp_path: Path, subnet: Subnet, cls: str) -> None:
    actors = {"prediction": {"class": cls}}
    recording = edited(tmp_path, subnet, lambda h: replace(h, settings=h.settings | {"actors": actors}))
    with pytest.raises(BadEventLog, match=r"is not a subclass|has no|does not import by itself"):
        recording.replay()


def test_the_packages_of_modules_may_be_named_too(
    tmp_path: Path, subnet: Subnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_subnet"
    package.mkdir()
    for name in ("__init__", "events"):
        (package / f"{name}.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = ("some_subnet.events",)
    assert edited(tmp_path, subnet, lambda h: replace(h, modules=modules), imports=["some_subnet"]).replay().equal


def test_a_replacement_on_the_command_line_names_its_module_but_not_those_of_the_log(
    tmp_path: Path, subnet: Subnet
) -> None:
    actors = {"prediction": {"class": "no_such_subnet:Mine"}}
    recording = edited(tmp_path, subnet, lambda h: replace(h, settings=h.settings | {"actors": actors}))
    assert recording.what_if(STRICT).unchanged > 0


def test_a_checkpoint_of_another_actor_says_whose(tmp_path: Path, subnet: Subnet) -> None:
    checkpoint = subnet.validator.checkpoint()
    prediction = checkpoint.actors["prediction"]
    state = prediction.plain() | {"offers": 7}
    checkpoint.actors["prediction"] = ActorCheckpoint.of(prediction.settings, state)
    recording = edited(tmp_path, subnet, lambda h: h, checkpoint)
    with pytest.raises(BadEventLog, match="the checkpoint is not one of the actor 'prediction'"):
        recording.replay()


def test_a_file_that_is_not_there_or_cut_in_its_compression_says_so(tmp_path: Path, subnet: Subnet) -> None:
    with pytest.raises(BadEventLog, match=r"nowhere.jsonl: cannot be read: "):
        Recording(tmp_path / "nowhere.jsonl")
    with pytest.raises(BadEventLog, match="no event log is in this folder"):
        log_files(tmp_path)
    subnet.validator.save(tmp_path / "log.jsonl")
    packed = gzip.compress((tmp_path / "log.jsonl").read_bytes())
    (tmp_path / "events.000001.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(BadEventLog, match=r"events.000001.jsonl.gz: cannot be read to its end"):
        Recording(tmp_path / "events.000001.jsonl.gz").replay()


@pytest.mark.parametrize("place", [15, -100, -6])
def test_a_file_whose_compressed_bytes_were_changed_says_so(tmp_path: Path, subnet: Subnet, place: int) -> None:
    subnet.validator.save(tmp_path / "log.jsonl")
    packed = bytearray(gzip.compress((tmp_path / "log.jsonl").read_bytes()))
    packed[place] ^= 0xFF
    (tmp_path / "events.000001.jsonl.gz").write_bytes(packed)
    with pytest.raises(BadEventLog, match=r"events.000001.jsonl.gz: cannot be read to its end"):
        Recording(tmp_path / "events.000001.jsonl.gz").replay()


def test_a_file_that_cannot_be_replayed_is_no_reason_not_to_replay_the_next(
    tmp_path: Path, subnet: Subnet, capsys: pytest.CaptureFixture[str]
) -> None:
    subnet.validator.save(tmp_path / "events.jsonl")
    subnet.validator.save(tmp_path / "events.000001.jsonl")
    (tmp_path / "events.000001.jsonl").write_bytes((tmp_path / "events.jsonl").read_bytes().replace(b"6.0", b"7.0"))
    assert main(["replay", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "events.jsonl: " in out
    assert "equal (every decision)" in out
    assert "events.000001.jsonl: line " in err
    assert main(["replay", str(tmp_path), "--json", "--with", "tests.neurons.planted:StrictPredictionActor"]) == 1
    damaged, whole = json.loads(capsys.readouterr().out)
    assert "its hash does not follow" in damaged["fault"]
    assert whole["with"] == ["tests.neurons.planted:StrictPredictionActor"]


def test_a_file_that_cannot_be_read_is_no_reason_not_to_look_into_the_next(
    tmp_path: Path, subnet: Subnet, capsys: pytest.CaptureFixture[str]
) -> None:
    subnet.validator.save(tmp_path / "events.jsonl")
    (tmp_path / "events.000001.jsonl").write_bytes(b"hello\n")
    whole = (tmp_path / "events.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "events.000002.jsonl").write_bytes(b"".join([*whole[:3], b"hello\n", *whole[4:]]))
    prediction_id = subnet.miner.last(VerdictReceived).prediction.prediction_id
    assert main(["trace", str(tmp_path), prediction_id]) == 1
    out, err = capsys.readouterr()
    assert "frame_received" in out
    assert "events.000001.jsonl: line 1: not an event log" in err
    assert "events.000002.jsonl: line 4: not a line" in err
    assert main(["log", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 + len(whole) - 2
    assert "events.000001.jsonl: line 1: not an event log" in err
    assert "events.000002.jsonl: line 4: not a line" in err


def test_who_looks_for_decisions_where_only_the_world_was_recorded_gets_them(
    tmp_path: Path, subnet: Subnet, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "log.jsonl"
    subnet.validator.save(file)
    thin(file)
    for summary in ([], ["--summary"]):
        assert main(["log", str(file), "--event", "prediction_*", *summary]) == 0
        out, err = capsys.readouterr()
        assert "prediction_submitted" in out
        assert "recorded with recorder.record: observed; its decisions are made again" in err
        assert main(["log", str(file), "--event", "http_request_received", "--until", "1d", *summary]) == 0
        assert capsys.readouterr().err == ""
        assert main(["log", str(file), "--event", "prediction_acepted", *summary]) == 1
        assert "the nearest is 'prediction_accepted'" in capsys.readouterr().err
    assert main(["log", str(file), "--limit", "2", "--summary", "--json"]) == 0
    assert sum(json.loads(capsys.readouterr().out)["events"].values()) == 2


def test_a_difference_is_explained_value_by_value(subnet: Subnet) -> None:
    def wrote(text: str) -> Envelope:
        return Envelope(
            1, NOW, NOW, (), WriteRequested(None, subnet.miner.hotkey, ErrorMessage(code=text, message=text))
        )

    assert "message.code: a -> b" in explain(Difference(wrote("a"), wrote("b")))
    assert "missing:" in explain(Difference(wrote("a"), None))
    assert explain(Difference(None, None)) == ""
    many = Envelope(1, NOW, NOW, (), Injected(wrote("a").event))  # type: ignore[arg-type]
    assert "recorded: injected" in explain(Difference(many, wrote("a")))


def test_no_secret_of_an_operator_is_in_a_recording(tmp_path: Path) -> None:
    own = {"class": "tests.neurons.planted:KnowsASecret", "token": "psst"}
    miner = SimulatedMiner(settings={"actors": {"knows_a_secret": own}})
    miner.start()
    actor = next(actor for actor in miner.actors if isinstance(actor, planted.KnowsASecret))
    miner.bus.publish(SettingsReloaded({actor.name: asdict(actor.settings) | {"token": "psst!"}}, (), ()))
    assert actor.settings.token == "psst!"  # noqa: S105 - it is none
    with saving(tmp_path / "log.jsonl", miner.header, miner.checkpoint()) as record:
        for envelope in miner.envelopes:
            record(envelope)
    assert b"psst" not in (tmp_path / "log.jsonl").read_bytes()
    assert "settings_reloaded" in [row.topic for row in Recording(tmp_path / "log.jsonl").rows()]
    miner.save(tmp_path / "log.jsonl")
    assert Recording(tmp_path / "log.jsonl").replay().equal


def test_a_header_tells_the_versions_of_all_that_decides() -> None:
    versions = SimulatedMiner().header.versions
    assert versions.keys() >= {"bettensor", "python", "bittensor-core", "SQLAlchemy", "httpx", "pydantic"}
    assert not versions.keys() & {"pytest", "ruff"}


def test_a_bus_without_a_world_needs_no_neuron(event_log: Any) -> None:
    bus = EventBus(ManualClock(NOW), record=event_log.append)
    bus.publish(TimerFired("test", "x", 1))
    assert event_log.last(TimerFired).timer == "x"
    with pytest.raises(LookupError, match=r"no verdict_received among \['timer_fired'\]"):
        event_log.last(VerdictReceived)


# --- hostile logs


def chained(header: Header, *bodies: bytes) -> bytes:
    """A log with these lines, whose hashes fit."""
    writer = LogWriter(header)
    return writer.first + b"".join(writer._line(body) for body in bodies)  # noqa: SLF001 - nobody else writes such lines


DEEP = b"[" * 100_000 + b"]" * 100_000
HOSTILE_LINES = {
    "deep event": b'{"seq":1,"at":1,"mono":1,"causes":[],"topic":"timer_fired","event":{"x":' + DEEP + b"}",
    "deep checkpoint": b'{"checkpoint":' + DEEP,
    "deep seal": b'{"seal":' + DEEP + b',"signature":"0x00"',
    "late": b'{"seq":1,"at":99999999999999999999,"mono":1,"causes":[],"topic":"timer_fired","event":{}',
    "beyond the calendar": b'{"seq":1,"at":300000000000000000,"mono":1,"causes":[],"topic":"timer_fired","event":{}',
    "before": b'{"seq":1,"at":-1,"mono":1,"causes":[],"topic":"timer_fired","event":{}',
    "a number beyond all": b'{"seq":1e999,"at":1,"mono":1,"causes":[],"topic":"timer_fired","event":{}',
    "many digits": b'{"seq":1,"at":1,"mono":1,"causes":[],"topic":"timer_fired","event":{"x":' + b"9" * 9000 + b"}",
    "no text": b'{"seq":1,"at":1,"mono":1,"causes":[],"topic":"frame_received","event":{"data":"\xff\xfe"}',
    "no fields": b'{"seq":1,"at":1,"mono":1,"causes":[],"topic":"frame_written","event":[1]',
    "another shape": b'{"seq":1,"at":1,"mono":1,"causes":[],"topic":"frame_written","event":{"message":7}',
    "a late checkpoint": b'{"checkpoint":{"seq":1,"at":99999999999999999999,"mono":1,"actors":{}}',
    "another checkpoint": b'{"checkpoint":{"seq":1,"at":1,"mono":1,"actors":{"prediction":{"settings":{},"state":{}}}}',
    "no checkpoint": b'{"checkpoint":{"seq":1,"at":1,"mono":1,"actors":[]}',
}


@pytest.mark.parametrize("kind", HOSTILE_LINES)
@pytest.mark.parametrize("packed", [False, True])
def test_no_hostile_line_ends_a_command_in_a_traceback(
    tmp_path: Path, subnet: Subnet, capsys: pytest.CaptureFixture[str], kind: str, *, packed: bool
) -> None:
    file = tmp_path / "log.jsonl"
    content = chained(subnet.validator.header, HOSTILE_LINES[kind])
    file.write_bytes(gzip.compress(content) if packed else content)
    for command in (["replay"], ["log"], ["log", "--summary"], ["log", "--hotkey", "5x"], ["trace"], ["audit"]):
        name, *flags = command
        prediction = ["p"] if name == "trace" else []
        assert main([name, str(file), *prediction, *flags]) in (0, 1), command
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("actors", [7, {"prediction": 7}, {"prediction": {"class": 7}}, []])
def test_settings_of_another_shape_say_so(tmp_path: Path, subnet: Subnet, actors: Any) -> None:
    recording = edited(tmp_path, subnet, lambda h: replace(h, settings=h.settings | {"actors": actors}))
    if actors == []:
        recording.close()
        return
    with pytest.raises(BadEventLog, match=r"recorded under settings that|does not import by itself"):
        recording.replay()


def test_a_line_without_end_is_not_inflated_as_a_whole(
    tmp_path: Path, subnet: Subnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LINE", 1 << 20)
    file = tmp_path / "events.000001.jsonl.gz"
    with gzip.open(file, "wb", compresslevel=1) as packed:
        packed.write(LogWriter(subnet.validator.header).first)
        for _ in range(256):
            packed.write(b" " * (1 << 20))
    assert file.stat().st_size < 2 << 20
    tracemalloc.start()
    try:
        with pytest.raises(BadEventLog, match=r"line 2: a line has more than 1 MiB"), Recording(file) as recording:
            list(recording.rows())
        assert last_hash(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_a_checkpoint_that_is_larger_than_usual_is_read(tmp_path: Path, subnet: Subnet) -> None:
    checkpoint = subnet.validator.checkpoint()
    large = replace(
        checkpoint, actors=checkpoint.actors | {"of another": ActorCheckpoint.of({}, {"x": "y" * (8 << 20)})}
    )
    with edited(tmp_path, subnet, lambda h: h, large) as recording:
        assert recording.reader.checkpoint == large


def test_a_log_of_decisions_alone_is_not_kept_as_a_whole(
    tmp_path: Path, subnet: Subnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bettensor.bus.replay.MOST_DECISIONS", 1000)
    row = b'{"seq":%d,"at":1,"mono":1,"causes":[],"topic":"line_logged","event":{"level":"INFO","text":"x"}'
    (tmp_path / "log.jsonl").write_bytes(chained(subnet.validator.header, *(row % n for n in range(1, 2000))))
    with pytest.raises(BadEventLog, match="more than 1000 decisions follow on one observation"):
        Recording(tmp_path / "log.jsonl").replay()


@pytest.mark.parametrize("name", ["pipe", "/dev/zero"])
def test_a_file_without_end_is_no_log(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadEventLog, match="cannot be read: it is a pipe or a device"):
        Recording(tmp_path / name)


def test_no_path_in_a_log_is_opened(tmp_path: Path, subnet: Subnet) -> None:
    paths = {"metagraph": {"static": "PLANTED"}, "blacklist": "/PLANTED", "games": {"path": "../PLANTED"}}
    state = {"state_dir": "PLANTED", "recorder": {"path": "PLANTED"}, "wallet": {"path": "PLANTED"}}
    recording = edited(tmp_path, subnet, lambda h: replace(h, settings=h.settings | paths | state))
    opened: list[str] = []
    watching = True
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if watching and event == "open" else None)
    assert recording.replay().events > 0
    watching = False
    assert [path for path in opened if "PLANTED" in path] == []
