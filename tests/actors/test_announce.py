"""EndpointActor: the chain is told where a neuron serves, and two processes of one hotkey do not fight over it."""

from typing import Any

import pytest

from bettensor.actors.announce import (
    FIRST_DELAY,
    FIRST_RETREAT,
    LONGEST_DELAY,
    LONGEST_RETREAT,
    SETTLING,
    AnnounceState,
    EndpointActor,
)
from bettensor.actors.miner.announce import MinerAnnounceActor, MinerAnnounceSettings
from bettensor.actors.settings import AxonSettings, MinerSynapseSettings
from bettensor.actors.validator.announce import AnnounceActor, AnnounceSettings
from bettensor.bus.backoff import backoff
from bettensor.bus.events import (
    Announced,
    AnnounceFailed,
    AnnouncementContested,
    AnnouncementSettled,
    AnnounceRequested,
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
    Role,
    SettingsReloaded,
    TimerFired,
)
from bettensor.bus.identifiers import SECOND, Micros, Uid
from tests.support import NETUID, NOW, Harness, make_hotkey

ME = make_hotkey("me")
OURS = "203.0.113.7:8091"
OLDER = "203.0.113.7:12345"
NEWER = "198.51.100.9:8091"
READING = 120
"""Seconds between two readings."""


def make_actor(role: Role, **changes: Any) -> EndpointActor:
    given: dict[str, Any] = {"external_ip": "203.0.113.7", "port": 8091} | changes
    if role == "validator":
        return AnnounceActor(AnnounceSettings(axon=AxonSettings(**given)))
    return MinerAnnounceActor(MinerAnnounceSettings(synapse=MinerSynapseSettings(enabled=True, **given)))


class Bench(Harness):
    """A neuron on a chain that takes each announcement at once."""

    def __init__(self, role: Role = "validator", *, entry: str | None, is_of_0_1: bool = False, **changes: Any) -> None:
        self.actor = make_actor(role, **changes)
        super().__init__(self.actor)
        self.entry = entry
        self.observe(NeuronStarted(role, NETUID, ME, "sr25519", 0, is_of_0_1))

    def read(self) -> None:
        """Read the chain, which takes what is asked for."""
        self.observe(MetagraphSynced((NeuronInfo(Uid(0), ME, axon=self.entry),), (), "chain"))
        self.take()

    def take(self) -> None:
        for event in self.all(AnnounceRequested)[len(self.all(Announced)) :]:
            self.entry = event.endpoint
            self.observe(Announced(event.endpoint))

    def go_on(self, seconds: float) -> None:
        """Let time pass, with its readings."""
        for _ in range(round(seconds / READING)):
            self.advance(READING)
            self.take()
            self.read()

    def start(self) -> None:
        """Read the chain until all is settled, whatever had to be announced."""
        self.read()
        self.go_on(SETTLING / SECOND + READING)

    def contests(self) -> list[AnnouncementContested]:
        return self.all(AnnouncementContested)

    def count(self) -> int:
        return len(self.all(AnnounceRequested))

    def is_contested(self) -> bool:
        return self.actor.state.contest is not None


ROLES: list[Role] = ["validator", "miner"]


@pytest.mark.parametrize("role", ROLES)
def test_a_process_that_was_there_first_keeps_the_entry(role: Role) -> None:
    bench = Bench(role, entry=OLDER)
    bench.start()
    assert (bench.entry, bench.count(), bench.contests()) == (OURS, 1, [])
    bench.entry = OLDER  # the other process has started again
    bench.read()
    (contest,) = bench.contests()
    seen_at = Micros(NOW + bench.clock.mono())
    assert contest == AnnouncementContested(OURS, OLDER, Micros(NOW), seen_at, True, FIRST_RETREAT, 0)
    bench.go_on(FIRST_RETREAT / SECOND - READING)
    assert (bench.entry, bench.count(), len(bench.contests())) == (OLDER, 1, 1)


def test_a_process_that_yields_tries_again_ever_later_while_the_other_answers() -> None:
    bench = Bench(entry=OLDER)
    bench.start()
    for rounds in range(7):
        bench.entry = OLDER
        before = bench.clock.mono()
        while bench.entry == OLDER:
            bench.go_on(READING)
        bench.go_on(READING)
        waited = bench.clock.mono() - before
        wanted = backoff(FIRST_RETREAT, LONGEST_RETREAT, rounds)
        assert wanted <= waited <= wanted + SETTLING + 3 * READING * SECOND
    assert [contest.rounds for contest in bench.contests()] == list(range(7))
    assert bench.all(AnnouncementSettled) == []


def test_a_process_that_was_first_announces_again_and_again_but_raises_no_storm() -> None:
    bench = Bench(entry=OURS)
    bench.start()
    assert bench.count() == 0
    for rounds in range(9):
        bench.entry = NEWER
        while bench.entry == NEWER:
            bench.go_on(READING)
        contest = bench.contests()[rounds]
        assert (contest.theirs, contest.yields, contest.rounds) == (NEWER, False, rounds)
        assert contest.delay == (backoff(FIRST_DELAY, LONGEST_DELAY, rounds - 1) if rounds else 0)
    assert bench.contests()[0].ours_at is None  # the entry was there when this run began
    assert bench.count() == 9


def test_a_contest_is_settled_when_ours_stays() -> None:
    bench = Bench(entry=OURS)
    bench.start()
    bench.entry = NEWER
    bench.read()
    assert (bench.entry, bench.is_contested()) == (OURS, True)
    bench.go_on(SETTLING / SECOND + READING)
    assert bench.all(AnnouncementSettled) == [AnnouncementSettled(OURS)]
    bench.entry = NEWER
    bench.read()
    assert bench.contests()[-1].rounds == 0  # a new contest


@pytest.mark.parametrize("role", ROLES)
def test_if_the_entry_disappears_ours_is_announced_at_once(role: Role) -> None:
    bench = Bench(role, entry=OLDER)
    bench.start()
    bench.entry = OLDER
    bench.read()
    bench.entry = None
    bench.read()
    assert bench.count() == 2
    bench.go_on(SETTLING / SECOND + READING)
    assert bench.all(AnnouncementSettled) == [AnnouncementSettled(OURS)]


def test_if_the_other_process_announces_the_same_endpoint_the_contest_is_over() -> None:
    bench = Bench(entry=OLDER)
    bench.start()
    bench.entry = OLDER
    bench.read()
    bench.entry = OURS
    bench.read()
    assert (bench.count(), bench.all(AnnouncementSettled)) == (1, [AnnouncementSettled(OURS)])
    bench.go_on(2 * FIRST_RETREAT / SECOND)
    assert bench.count() == 1


def test_new_settings_are_announced_at_the_next_reading() -> None:
    bench = Bench(entry=OLDER)
    bench.start()
    bench.entry = OLDER
    bench.read()
    same = {"axon": {"external_ip": "203.0.113.7", "port": 8091}}
    bench.observe(SettingsReloaded({"announce": same}, (), ()))
    bench.read()
    assert bench.count() == 1
    bench.observe(SettingsReloaded({"announce": {"axon": {"external_ip": "203.0.113.7", "port": 9}}}, (), ()))
    bench.read()
    assert bench.all(AnnouncementSettled) == [AnnouncementSettled(None)]
    assert bench.entry == "203.0.113.7:9"


def test_an_entry_that_lags_behind_is_no_fight() -> None:
    bench = Bench(entry=OLDER)
    bench.read()
    bench.entry = OLDER
    for _ in range(int(SETTLING / SECOND) // READING):
        bench.advance(READING)
        bench.read()
    assert bench.contests() == []
    bench.entry = OURS
    bench.go_on(SETTLING / SECOND)
    assert (bench.count(), bench.contests()) == (1, [])


def test_an_announcement_that_is_lost_is_made_again_before_another_process_is_suspected() -> None:
    bench = Bench(entry=OLDER)
    bench.read()
    for contests in (0, 1):
        bench.entry = OLDER  # nobody has ever seen ours
        bench.advance(SETTLING / SECOND)
        assert bench.count() == contests + 1
        bench.read()
        assert len(bench.contests()) == contests
    assert bench.contests()[0].yields


def test_an_announcement_without_an_answer_that_the_chain_took_after_all_is_no_contest() -> None:
    bench = Bench(entry=OLDER)
    bench.observe(MetagraphSynced((NeuronInfo(Uid(0), ME, axon=OLDER),), (), "chain"))
    bench.observe(AnnounceFailed(OURS, "no answer"))
    bench.entry = OURS
    for _ in range(3):
        bench.observe(MetagraphSynced((NeuronInfo(Uid(0), ME, axon=OURS),), (), "chain"))
        bench.advance(READING)
    assert (bench.count(), bench.contests()) == (1, [])


def test_two_processes_agree_on_who_has_the_entry() -> None:
    first, second = Bench(entry=None), Bench(entry=None, port=8092)
    first.start()
    entry = first.entry
    history = []
    for _ in range(2 * 24 * 3600 // READING):  # two days
        for bench in (first, second):
            bench.entry = entry
            bench.advance(READING)
            bench.take()
            bench.read()
            entry = bench.entry
        history.append(entry)
    assert history.count(OURS) / len(history) > 0.95
    assert second.count() == 7  # twice, because it never saw its own; and after 1, 2, 4, 8 and 16 h
    assert {contest.yields for contest in first.contests()} == {False}
    assert {contest.yields for contest in second.contests()} == {True}


def test_a_contest_survives_a_snapshot() -> None:
    bench = Bench(entry=OLDER)
    bench.start()
    bench.entry = OLDER
    bench.read()
    kept = bench.actor.snapshot()
    bench.actor.state = AnnounceState()
    bench.actor.restore(kept)
    assert bench.actor.snapshot() == kept
    bench.go_on(FIRST_RETREAT / SECOND)
    assert (bench.entry, bench.count()) == (OURS, 2)


def test_release_0_1_0_suspected_nobody() -> None:
    bench = Bench(entry=OLDER, is_of_0_1=True)
    bench.start()
    for count in (2, 3):
        bench.entry = OLDER
        bench.go_on(SETTLING / SECOND + READING)
        assert (bench.count(), bench.entry) == (count, OURS)
    assert bench.contests() == []


def test_a_timer_of_a_contest_that_is_over_does_no_harm() -> None:
    bench = Bench(entry=OURS)
    bench.start()
    bench.observe(TimerFired("announce", "contest", None))
    assert bench.count() == 0


def test_each_role_says_where_it_serves() -> None:
    with pytest.raises(NotImplementedError):
        _ = EndpointActor().serving
