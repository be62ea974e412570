"""When a miner dials again: the table of the protocol, row by row."""

from dataclasses import replace
from typing import Any

import pytest

from bettensor.actors.miner.patience import SOON
from bettensor.actors.miner.reconnect import RETURN_AFTER, RETURN_WINDOW, ReconnectActor, ReconnectSettings
from bettensor.actors.settings import WebSocketSettings
from bettensor.bus.codes import CloseCode, RefusalCode
from bettensor.bus.events import (
    ClockStepped,
    CloseRequested,
    ConnectionClosed,
    DialFailed,
    DialRequested,
    GamesUpdated,
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
    NeuronStopping,
    Position,
    ReconnectScheduled,
    SessionActivated,
    SettingsReloaded,
    ValidatorsMissed,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Epoch, Hotkey, Micros, Offset, SessionId, Uid
from bettensor.bus.timestamps import DAY
from tests.support import HOUR, NETUID, Harness, make_hotkey

ME, VALIDATOR, OTHER = make_hotkey("me"), make_hotkey("validator"), make_hotkey("other")
BASE, LONGEST = 5.0, 300.0


def neuron(hotkey: Hotkey, axon: str | None = "10.0.0.1:8091", permit: bool = True) -> NeuronInfo:
    return NeuronInfo(Uid(0), hotkey, validator_permit=permit, axon=axon)


class Bench(Harness):
    def __init__(self, seed: int = 1, neurons: tuple[NeuronInfo, ...] = (neuron(VALIDATOR),), **settings: Any) -> None:
        self.actor = ReconnectActor(ReconnectSettings(**settings))
        super().__init__(self.actor)
        self.observe(NeuronStarted("miner", NETUID, ME, "sr25519", seed), MetagraphSynced(neurons))

    @property
    def connection(self) -> ConnectionId:
        """The newest try."""
        return self.last(DialRequested).connection

    def open(self, seconds: float = 0.0) -> None:
        """The session becomes active, and lives for so long."""
        self.observe(SessionActivated(self.connection, VALIDATOR, Uid(0), SessionId("s" * 32)))
        self.advance(seconds)

    def close(self, code: int, reason: str = "") -> float:
        """It is closed; returns the seconds until the next try."""
        self.observe(ConnectionClosed(self.connection, code, reason))
        return self.last(ReconnectScheduled).delay / SECOND

    def fail(self, status: int | None = None, retry_after: int | None = None) -> float:
        """The try fails; returns the seconds until the next one."""
        self.observe(DialFailed(self.connection, VALIDATOR, "no", status, retry_after))
        return self.last(ReconnectScheduled).delay / SECOND


def test_every_validator_with_a_permit_and_an_endpoint_is_dialled_and_nobody_else() -> None:
    neurons = (
        neuron(ME),
        neuron(VALIDATOR, "10.0.0.1:1"),
        neuron(make_hotkey("miner"), permit=False),
        neuron(make_hotkey("silent"), axon=None),
        neuron(OTHER, "10.0.0.2:2"),
    )
    dialled = [(dial.hotkey, dial.endpoint) for dial in Bench(neurons=neurons).all(DialRequested)]
    assert dialled == [(VALIDATOR, "10.0.0.1:1"), (OTHER, "10.0.0.2:2")]


def test_of_a_chosen_list_only_those_are_dialled_permit_or_not() -> None:
    neurons = (neuron(VALIDATOR), neuron(OTHER, permit=False))
    bench = Bench(neurons=neurons, validators=(OTHER,))
    assert [dial.hotkey for dial in bench.all(DialRequested)] == [OTHER]


def test_with_the_websocket_disabled_nobody_is_dialled() -> None:
    assert Bench(websocket=WebSocketSettings(enabled=False)).all(DialRequested) == []


def test_a_dial_that_comes_through_after_the_websocket_was_switched_off_is_closed_again() -> None:
    bench = Bench()
    off = {"reconnect": {"websocket": {"enabled": False}}}
    bench.observe(SettingsReloaded(off, ("websocket.enabled",), ()))
    asked = bench.during(bench.open, CloseRequested)
    assert [(close.connection, close.code) for close in asked] == [(bench.connection, CloseCode.NORMAL)]
    bench.observe(ConnectionClosed(bench.connection, CloseCode.NORMAL, ""))
    bench.advance(LONGEST)
    assert len(bench.all(DialRequested)) == 1
    on = {"reconnect": {"websocket": {"enabled": True}}}
    bench.observe(SettingsReloaded(on, ("websocket.enabled",), ()))
    assert len(bench.all(DialRequested)) == 2


WAITS = (4000, 4001, 4002, 4003, 4004, 4099, 4104, 1002, 1007, 1008, 1009)
BACKS_OFF = (4100, 4101, 4102, 4103, 1006, 1011, 1000, 1005, 3999, 4999)
RETURNS = (4200, 1001, 1012)


@pytest.mark.parametrize("code", WAITS)
def test_after_these_closes_it_waits_the_longest_time(code: int) -> None:
    bench = Bench()
    bench.open()
    assert bench.close(code) == LONGEST


@pytest.mark.parametrize("code", BACKS_OFF)
def test_after_these_closes_it_backs_off(code: int) -> None:
    bench = Bench()
    bench.open()
    assert 0 <= bench.close(code) <= BASE
    ceilings = [BASE * 2**n for n in range(1, 10)]
    for ceiling in ceilings:
        bench.advance(LONGEST)
        assert bench.fail() <= min(ceiling, LONGEST)


@pytest.mark.parametrize("code", RETURNS)
def test_after_these_closes_it_returns_at_once_with_jitter(code: int) -> None:
    delays = []
    for seed in range(20):
        bench = Bench(seed)
        bench.open(RETURN_AFTER)
        delays.append(bench.close(code))
    assert max(delays) <= RETURN_WINDOW
    assert max(delays) - min(delays) > RETURN_WINDOW / 2


def test_a_run_of_0_1_0_obeyed_any_retry_after_and_returned_after_any_session() -> None:
    bench = Bench()
    bench.observe(NeuronStarted("miner", NETUID, ME, "sr25519", 1, is_of_0_1=True))
    assert bench.fail(503, retry_after=99_999) == 99_999
    bench.advance(99_999)
    for _ in range(9):
        bench.open(1)
        assert bench.close(CloseCode.RESTARTING) <= RETURN_WINDOW
        bench.advance(RETURN_WINDOW)


def test_a_validator_that_restarts_at_every_session_is_not_dialled_every_second() -> None:
    bench = Bench()
    for _ in range(50):
        bench.open(1)
        bench.close(CloseCode.RESTARTING)
        bench.advance(LONGEST)
    assert sum(event.delay for event in bench.all(ReconnectScheduled)) / SECOND > 40 * LONGEST / 3


def test_sessions_that_end_for_a_flood_are_failures_however_long_they_lasted() -> None:
    delays = []
    for seed in range(20):
        bench = Bench(seed)
        for _ in range(8):
            bench.open(3600)
            delays.append(bench.close(CloseCode.RATE_LIMITED))
            bench.advance(LONGEST)
    assert max(delays) > LONGEST / 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_after_these_refusals_it_waits(status: int) -> None:
    assert Bench().fail(status) == LONGEST


@pytest.mark.parametrize("status", [429, 503, 500, 302, None])
def test_after_these_refusals_it_backs_off(status: int | None) -> None:
    assert Bench().fail(status) <= BASE


def test_retry_after_is_obeyed() -> None:
    assert Bench().fail(503, retry_after=30) == 30


def test_retry_after_is_obeyed_no_longer_than_a_miner_waits_by_itself() -> None:
    assert Bench().fail(503, retry_after=99_999) == 300


def test_back_off_doubles_up_to_the_longest_and_is_spread_over_all_of_it() -> None:
    samples: list[list[float]] = []
    for seed in range(40):
        bench = Bench(seed)
        delays = []
        for _ in range(9):
            delays.append(bench.fail())
            bench.advance(LONGEST)
        samples.append(delays)
    for attempt in range(9):
        ceiling = min(BASE * 2**attempt, LONGEST)
        drawn = [delays[attempt] for delays in samples]
        assert max(drawn) <= ceiling
        assert min(drawn) < ceiling / 3
        assert max(drawn) > ceiling * 2 / 3


def test_it_dials_when_the_time_has_come_and_not_before() -> None:
    bench = Bench()
    delay = bench.fail()
    bench.advance(delay - 0.001)
    assert len(bench.all(DialRequested)) == 1
    bench.advance(0.002)
    assert len(bench.all(DialRequested)) == 2


def test_a_step_of_the_wall_clock_changes_nothing() -> None:
    bench = Bench()
    delay = bench.fail()
    for by in (HOUR, -2 * HOUR, DAY):
        bench.clock.step_wall(Micros(by))
        bench.observe(ConnectionClosed(ConnectionId(99), 1006, ""))  # what it sees the step by
    assert len(bench.all(ClockStepped)) == 3
    bench.advance(delay - 0.001)
    assert len(bench.all(DialRequested)) == 1
    bench.advance(0.002)
    assert len(bench.all(DialRequested)) == 2


@pytest.mark.parametrize(("status", "code"), [(401, RefusalCode.STALE), (503, RefusalCode.NO_METAGRAPH)])
def test_a_cause_that_may_be_gone_at_any_moment_is_tried_soon_again(status: int, code: RefusalCode) -> None:
    bench = Bench()
    for _ in range(20):
        bench.observe(DialFailed(bench.connection, VALIDATOR, "no", status, None, code))
        assert bench.last(ReconnectScheduled).delay <= SOON * SECOND
        bench.advance(SOON)
    assert bench.fail() > SOON  # another failure takes the long back-off, which has gone on


def stale(bench: Bench) -> None:
    """The newest try is refused for the clock."""
    bench.observe(DialFailed(bench.connection, VALIDATOR, "old", 401, None, RefusalCode.STALE))


def step(bench: Bench, by: Micros = HOUR) -> None:
    bench.clock.step_wall(by)
    bench.bus.look_at_clocks()


def test_a_clock_that_is_set_right_ends_the_wait_of_those_who_were_refused_for_it() -> None:
    bench = Bench()
    for _ in range(9):
        stale(bench)
        bench.advance(SOON)
    stale(bench)
    dials = len(bench.all(DialRequested))
    step(bench)
    assert len(bench.all(DialRequested)) == dials + 1
    stale(bench)  # set, and still wrong
    assert bench.last(ReconnectScheduled).delay <= BASE * SECOND
    bench.advance(BASE)
    bench.open()
    bench.close(CloseCode.ABNORMAL)
    step(bench)
    assert len(bench.all(DialRequested)) == dials + 2


def test_a_try_that_is_under_way_when_the_clock_is_set_is_not_doubled() -> None:
    bench = Bench()
    stale(bench)
    bench.advance(BASE)
    step(bench)
    assert len(bench.all(DialRequested)) == 2


def test_a_miner_without_a_validator_says_so_until_it_has_one() -> None:
    bench = Bench(neurons=())
    assert bench.last(ValidatorsMissed).reason == "this miner has no validator to connect to: the metagraph is empty"
    assert "correct netuid" in bench.last(ValidatorsMissed).cure
    bench.observe(MetagraphSynced(()))
    assert len(bench.all(ValidatorsMissed)) == 1
    bench.observe(MetagraphSynced((neuron(VALIDATOR, permit=False),)))
    assert "has a validator permit" in bench.last(ValidatorsMissed).reason
    bench.observe(MetagraphSynced((neuron(VALIDATOR),), changed=(VALIDATOR,)))
    assert bench.last(ValidatorsMissed) == ValidatorsMissed("")
    assert len(bench.all(ValidatorsMissed)) == 3


def test_a_miner_with_a_validator_says_nothing() -> None:
    assert Bench().all(ValidatorsMissed) == []


def test_after_a_session_that_lived_longer_than_the_interval_it_starts_from_the_base() -> None:
    bench = Bench()
    for _ in range(8):
        bench.fail()
        bench.advance(LONGEST)
    bench.open(seconds=LONGEST + 1)
    bench.close(CloseCode.ABNORMAL)
    assert bench.actor.state.targets[VALIDATOR].failures == 1


def test_after_a_session_that_broke_soon_it_goes_on_backing_off() -> None:
    bench = Bench()
    for _ in range(8):
        bench.fail()
        bench.advance(LONGEST)
    bench.open(seconds=1)
    bench.close(CloseCode.ABNORMAL)
    assert bench.actor.state.targets[VALIDATOR].failures == 9


def test_a_new_metagraph_ends_the_wait() -> None:
    bench = Bench()
    bench.fail(403)
    bench.observe(MetagraphSynced((neuron(VALIDATOR, "10.9.9.9:9"),), changed=(VALIDATOR,)))
    assert bench.last(DialRequested).endpoint == "10.9.9.9:9"
    bench.advance(LONGEST + 1)
    assert len(bench.all(DialRequested)) == 2  # the old wait does not dial once more


def test_a_miner_that_the_metagraph_has_backs_off_where_a_validator_does_not_know_it_yet() -> None:
    bench = Bench()
    refused = DialFailed(bench.connection, VALIDATOR, "no", 403, None, RefusalCode.NOT_REGISTERED)
    bench.observe(refused)
    assert bench.last(ReconnectScheduled).delay == LONGEST * SECOND
    bench.observe(MetagraphSynced((neuron(VALIDATOR), neuron(ME, None, permit=False)), changed=(ME,)))
    for ceiling in (BASE, 2 * BASE, 4 * BASE):
        bench.observe(replace(refused, connection=bench.connection))
        assert 0 < bench.last(ReconnectScheduled).delay < ceiling * SECOND
        bench.advance(ceiling)
    bench.observe(replace(refused, connection=bench.connection, code=RefusalCode.BLACKLISTED))
    assert bench.last(ReconnectScheduled).delay == LONGEST * SECOND


def test_a_validator_that_moves_is_followed_at_once() -> None:
    bench = Bench()
    bench.open()
    old = bench.connection
    bench.observe(MetagraphSynced((neuron(VALIDATOR, "10.9.9.9:9"),), changed=(VALIDATOR,)))
    assert bench.last(CloseRequested).connection == old
    assert bench.last(DialRequested).endpoint == "10.9.9.9:9"
    bench.observe(ConnectionClosed(old, CloseCode.NORMAL, ""))
    assert bench.all(ReconnectScheduled) == []


def test_a_validator_that_moves_while_it_is_dialled_is_tried_there_soon() -> None:
    bench = Bench()
    for _ in range(8):
        bench.fail()
        bench.advance(LONGEST)
    bench.observe(MetagraphSynced((neuron(VALIDATOR, "10.9.9.9:9"),), changed=(VALIDATOR,)))
    assert bench.all(CloseRequested) == []
    assert bench.fail() < BASE
    bench.advance(BASE)
    assert bench.last(DialRequested).endpoint == "10.9.9.9:9"


def test_a_session_with_where_a_validator_was_when_it_was_dialled_is_left_for_where_it_is() -> None:
    bench = Bench()
    old = bench.connection
    bench.observe(MetagraphSynced((neuron(VALIDATOR, "10.9.9.9:9"),), changed=(VALIDATOR,)))
    bench.open()
    assert bench.last(CloseRequested).connection == old
    assert bench.last(DialRequested).endpoint == "10.9.9.9:9"
    bench.observe(ConnectionClosed(old, CloseCode.NORMAL, ""))
    bench.open()
    assert len(bench.all(CloseRequested)) == 1


@pytest.mark.parametrize("left", [(), (neuron(VALIDATOR, permit=False),)], ids=["deregistered", "without its permit"])
def test_a_validator_that_is_none_any_more_is_left(left: tuple[NeuronInfo, ...]) -> None:
    bench = Bench()
    bench.open()
    bench.observe(MetagraphSynced(left, changed=(VALIDATOR,)))
    assert bench.last(CloseRequested).connection == bench.connection
    bench.observe(ConnectionClosed(bench.connection, CloseCode.NORMAL, ""))
    bench.advance(LONGEST)
    assert len(bench.all(DialRequested)) == 1
    bench.observe(MetagraphSynced((neuron(VALIDATOR),), changed=(VALIDATOR,)))
    assert len(bench.all(DialRequested)) == 2


def test_a_validator_that_is_none_any_more_is_left_whatever_the_try_leads_to() -> None:
    bench = Bench()
    bench.observe(MetagraphSynced((), changed=(VALIDATOR,)))
    bench.open()
    assert len(bench.all(CloseRequested)) == 2
    bench = Bench()
    bench.fail()
    bench.observe(MetagraphSynced((), changed=(VALIDATOR,)))
    bench.advance(LONGEST)
    assert len(bench.all(DialRequested)) == 1


def test_a_session_outlives_an_endpoint_that_the_metagraph_has_lost() -> None:
    bench = Bench()
    bench.open()
    bench.observe(MetagraphSynced((neuron(VALIDATOR, None),), changed=(VALIDATOR,)))
    assert bench.all(CloseRequested) == []


def test_a_validator_that_is_connected_is_not_dialled_again() -> None:
    bench = Bench()
    bench.open()
    bench.observe(MetagraphSynced((neuron(VALIDATOR),)))
    assert len(bench.all(DialRequested)) == 1


def test_it_names_the_position_that_it_has() -> None:
    bench = Bench()
    bench.open()
    bench.observe(GamesUpdated(VALIDATOR, Epoch("e" * 32), Offset(9), (), snapshot=True))
    bench.close(4200)
    bench.advance(RETURN_WINDOW)
    assert bench.last(DialRequested).position == Position(Epoch("e" * 32), Offset(9))


def test_one_validator_does_not_wait_for_another() -> None:
    bench = Bench(neurons=(neuron(VALIDATOR, "a:1"), neuron(OTHER, "b:2")))
    first, _ = bench.all(DialRequested)
    bench.observe(DialFailed(first.connection, VALIDATOR, "down"))
    assert [scheduled.hotkey for scheduled in bench.all(ReconnectScheduled)] == [VALIDATOR]


def test_what_ends_after_the_neuron_stops_is_not_dialled_again() -> None:
    bench = Bench()
    bench.open()
    bench.observe(NeuronStopping("SIGTERM"), ConnectionClosed(bench.connection, 4200, ""))
    bench.observe(MetagraphSynced((neuron(OTHER),)))
    assert bench.all(ReconnectScheduled) == []
    assert len(bench.all(DialRequested)) == 1


def test_ends_of_other_connections_are_none_of_its_business() -> None:
    bench = Bench()
    bench.observe(ConnectionClosed(ConnectionId(99), 1006, ""), DialFailed(ConnectionId(99), OTHER, "x"))
    assert bench.all(ReconnectScheduled) == []


def test_the_same_seed_draws_the_same() -> None:
    assert Bench(7).fail() == Bench(7).fail() != Bench(8).fail()
