"""Which questions of existing validators a miner admits, in which order it checks, and what it makes of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bettensor.actors.miner.model import ModelActor
from bettensor.actors.miner.outbox import OutboxActor
from bettensor.actors.miner.slate import SlateActor
from bettensor.actors.miner.synapse import (
    DROPPED,
    KNOWN_FACTOR,
    KNOWN_FOR,
    MAX_OPEN,
    Inadmissible,
    MinerSynapseActor,
    MinerSynapseActorSettings,
    read_claims,
)
from bettensor.actors.settings import AuthSettings, ChosenValidators, MinerSynapseSettings
from bettensor.bus.events import (
    ConnectionClosed,
    GamesUpdated,
    KnownSlate,
    MessageAccepted,
    MetagraphFetched,
    MetagraphSynced,
    MinerStatsReported,
    ModelAnswered,
    NeuronDraining,
    NeuronInfo,
    NeuronStarted,
    OutboxOpened,
    PeerMisbehaved,
    PendingRequested,
    PredictionsRequested,
    QueryAdmitted,
    QueryAnswered,
    QueryEnded,
    QueryReceived,
    QueryRefused,
    QueryUnreadable,
    QueryVerificationRequested,
    Scheme,
    SessionActivated,
    SignatureChecked,
    SlateQueried,
    VerdictsConfirmed,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import SECOND, ConnectionId, Hotkey, Micros, Offset, Uid
from bettensor.bus.messages import MAX_SLATE
from bettensor.bus.synapse import BODY_HASH, SYNAPSE_EPOCH, Result
from tests.actors.miner.messages import CONNECTION, EPOCH, ME, OTHER, SESSION, VALIDATOR, update, welcome
from tests.support import NETUID, NOW, Harness, make_game

FIRST = 1 << 40
REMOTE = "203.0.113.9"
SMALL = NeuronInfo(Uid(3), Hotkey("5small".ljust(48, "x")), validator_permit=True, stake=5.0)
MINER = NeuronInfo(Uid(4), Hotkey("5miner".ljust(48, "x")), stake=50.0)
NEURONS = (
    NeuronInfo(Uid(0), VALIDATOR, validator_permit=True, stake=100.0),
    NeuronInfo(Uid(1), OTHER, validator_permit=True, stake=100.0, crypto="ed25519"),
    NeuronInfo(Uid(2), ME),
    SMALL,
    MINER,
)


class SynapseBench(Harness):
    """The actor with those that its slates lead to; signatures are good unless a test says otherwise."""

    def __init__(self, *, members: bool = True, **settings: Any) -> None:
        limits = MinerSynapseSettings(enabled=True, min_stake=10.0, max_request_bytes=10_000)
        self.actor = MinerSynapseActor(MinerSynapseActorSettings(**({"synapse": limits} | settings)))
        super().__init__(self.actor, SlateActor(), ModelActor(), OutboxActor())
        self.observe(NeuronStarted("miner", NETUID, ME, "sr25519", seed=1))
        if members:
            self.observe(MetagraphFetched(NEURONS), MetagraphSynced(NEURONS))
        self.asked = 0
        self.nonce = NOW * 1000

    def query(
        self,
        *,
        valid: bool = True,
        remote: str = REMOTE,
        method: str = "POST",
        target: str = "/GameData",
        also: tuple[tuple[str, str], ...] = (),
        **changes: str | None,
    ) -> ConnectionId:
        """A request, whose headers differ by ``changes`` (without their prefix; None: left out)."""
        self.asked, self.nonce = self.asked + 1, self.nonce + 1
        connection = ConnectionId(FIRST + self.asked)
        headers = {
            "timeout": "12.0",
            "bt_header_axon_hotkey": ME,
            "bt_header_dendrite_nonce": str(self.nonce),
            "bt_header_dendrite_uuid": "dd75b382-eafc-11f1-83cb-02fc00000001",
            "bt_header_dendrite_hotkey": VALIDATOR,
            "bt_header_dendrite_signature": f"0x{'ab' * 64}",
            "bt_header_dendrite_version": "10005000",
            "computed_body_hash": BODY_HASH,
            "content-length": "1424",
        }
        for name, value in changes.items():
            full = {"hash": "computed_body_hash", "axon": "bt_header_axon_hotkey", "timeout": "timeout"}.get(
                name, name if "-" in name else f"bt_header_dendrite_{name}"
            )
            headers.pop(full, None)
            if value is not None:
                headers[full] = value
        received = QueryReceived(connection, method, target, (*headers.items(), *also), remote)
        asked = self.during(lambda: self.observe(received), QueryVerificationRequested)
        if asked:
            seq = next(e.seq for e in reversed(self.envelopes) if e.event is asked[0])
            self.observe(SignatureChecked(connection, seq, valid))
        return connection

    def status(self, **request: Any) -> int:
        """The status of a refusal; 200 if the request is admitted, and ends at once."""
        connection = self.query(**request)
        refused = [event.status for event in self.all(QueryRefused) if event.connection == connection]
        self.observe(QueryEnded(connection))
        return refused[0] if refused else 200

    def ask(self, *games: TeamGame, hotkey: Hotkey = VALIDATOR) -> ConnectionId:
        """An admitted question about these games."""
        connection = self.query(hotkey=hotkey)
        self.observe(SlateQueried(connection, hotkey, games))
        return connection

    def answered(self) -> list[ConnectionId]:
        return [event.connection for event in self.all(QueryAnswered)]


def seconds(bench: SynapseBench, age: float) -> str:
    return str((bench.clock.wall() - round(age * SECOND)) * 1000)


# --- the head


def test_a_right_head_is_admitted_and_its_signature_covers_what_a_dendrite_signs() -> None:
    bench = SynapseBench()
    connection = bench.query(nonce=str(NOW * 1000))
    asked = bench.last(QueryVerificationRequested)
    uuid = "dd75b382-eafc-11f1-83cb-02fc00000001"
    assert asked.text == f"{NOW * 1000}.{VALIDATOR}.{ME}.{uuid}.{BODY_HASH}".encode()
    assert (asked.signer, asked.scheme, asked.signature) == (VALIDATOR, "sr25519", bytes.fromhex("ab" * 64))
    assert bench.last(QueryAdmitted) == QueryAdmitted(connection, VALIDATOR)


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (404, {"target": "/ws"}),
        (404, {"target": "/gamedata"}),
        (404, {"target": "/", "method": "GET"}),
        (405, {"method": "GET"}),
        (405, {"method": "PUT"}),
        (400, {"also": (("bt_header_dendrite_hotkey", OTHER),)}),
        (400, {"also": (("bt_header_dendrite_port", "1"), ("bt_header_dendrite_port", "1"))}),
        (400, {"also": (("computed_body_hash", BODY_HASH),)}),
        (415, {"also": (("content-encoding", "gzip"),)}),
        (413, {"content-length": None}),
        (413, {"content-length": "1e3"}),
        (413, {"content-length": None, "also": (("transfer-encoding", "chunked"),)}),
        (413, {"content-length": "10001"}),
        (413, {"content-length": "11534336"}),
        (400, {"nonce": "abc"}),
        (400, {"nonce": "-1"}),
        (400, {"nonce": None}),
        (400, {"nonce": "1" * 21}),
        (400, {"uuid": None}),
        (400, {"uuid": "a.b"}),
        (400, {"uuid": "a" * 65}),
        (400, {"hotkey": None}),
        (400, {"hotkey": "5short"}),
        (400, {"hotkey": f"../{VALIDATOR}"}),
        (400, {"signature": None}),
        (400, {"signature": ""}),
        (400, {"signature": "0x"}),
        (400, {"signature": f"0x{'ab' * 63}"}),
        (400, {"signature": "ab" * 64}),
        (400, {"hash": None}),
        (400, {"hash": "a" * 64}),
        (403, {"hotkey": "5" + "A" * 47}),
        (403, {"hotkey": MINER.hotkey}),
        (403, {"hotkey": SMALL.hotkey}),
        (401, {"axon": OTHER}),
        (401, {"valid": False}),
        (200, {"axon": None}),
        (200, {"target": "/GameData?x=1"}),
        (200, {"content-length": "10000"}),
        (200, {"timeout": "soon", "version": None}),
    ],
)
def test_each_check_has_its_status(status: int, request_: dict[str, Any]) -> None:
    assert SynapseBench().status(**request_) == status


@pytest.mark.parametrize("loose", [{}, {"timeout": "100000"}, {"version": "0"}, {"version": None}])
@pytest.mark.parametrize(
    ("age", "status"), [(23.9, 200), (24.1, 401), (3600, 401), (-4.9, 200), (-5.1, 401), (-60, 401), (-3.2e7, 401)]
)
def test_the_window_is_ours_whatever_timeout_and_version_say(age: float, status: int, loose: dict[str, Any]) -> None:
    bench = SynapseBench()
    assert bench.status(nonce=seconds(bench, age), **loose) == status


def test_the_checks_come_in_this_order_the_cheapest_first() -> None:
    wrong: dict[str, Any] = {
        "target": "/ws",
        "method": "GET",
        "also": (("bt_header_dendrite_hotkey", "x"), ("content-encoding", "gzip")),
        "content-length": "99999",
        "nonce": "abc",
        "hash": "a",
        "axon": OTHER,
        "valid": False,
    }
    bench = SynapseBench(members=False)
    repairs: list[tuple[int, Callable[[], Any]]] = [
        (404, lambda: wrong.pop("target")),
        (405, lambda: wrong.pop("method")),
        (400, lambda: wrong.update(also=(("content-encoding", "gzip"),))),
        (415, lambda: wrong.pop("also")),
        (413, lambda: wrong.pop("content-length")),
        (400, lambda: wrong.update(nonce=seconds(bench, 60))),
        (400, lambda: wrong.pop("hash")),
        (401, lambda: wrong.pop("nonce")),
        (503, lambda: bench.observe(MetagraphFetched(()), MetagraphSynced(()))),
        (403, lambda: bench.observe(MetagraphFetched((MINER,)), MetagraphSynced((replace(MINER, hotkey=VALIDATOR),)))),
        (403, lambda: bench.observe(MetagraphSynced((replace(SMALL, hotkey=VALIDATOR),)))),
        (403, lambda: bench.observe(MetagraphSynced(NEURONS))),
        (401, lambda: wrong.pop("axon")),
        (401, lambda: wrong.pop("valid")),
    ]
    for status, repair in repairs:
        assert bench.status(**wrong) == status, wrong
        repair()
    assert bench.status(**wrong) == 200


def test_nothing_is_verified_of_a_head_that_fails_another_check() -> None:
    bench = SynapseBench()
    bench.status(axon=OTHER)
    bench.status(hotkey=MINER.hotkey)
    assert bench.all(QueryVerificationRequested) == []


def test_a_head_without_any_underscore_names_the_proxy_that_drops_them() -> None:
    dropped = (("content-length", "10"), ("timeout", "12.0"))
    with pytest.raises(Inadmissible, match="set underscores_in_headers on") as refused:
        read_claims(QueryReceived(ConnectionId(FIRST), "POST", "/GameData", dropped, REMOTE))
    assert (refused.value.status, str(refused.value)) == (400, DROPPED)


def test_a_replay_is_refused_and_nonces_may_come_in_any_order() -> None:
    bench = SynapseBench()
    late, early = seconds(bench, 1), seconds(bench, 2)
    assert [bench.status(nonce=nonce) for nonce in (late, early, late, early)] == [200, 200, 401, 401]
    assert "was used already" in bench.last(QueryRefused).message
    assert bench.status(nonce=late, hotkey=OTHER) == 200
    bench.advance(20)
    assert bench.status(nonce=late, uuid="another") == 401


def test_a_nonce_whose_signature_is_wrong_is_not_used_up() -> None:
    bench = SynapseBench()
    nonce = seconds(bench, 1)
    assert [bench.status(nonce=nonce, valid=False), bench.status(nonce=nonce)] == [401, 200]


@pytest.mark.parametrize("configured", [{}, {OTHER: "sr25519"}])
def test_the_scheme_is_the_pinned_one(configured: dict[Hotkey, Scheme]) -> None:
    bench = SynapseBench(auth=AuthSettings(schemes=configured))
    bench.query(hotkey=OTHER)
    assert bench.last(QueryVerificationRequested).scheme == configured.get(OTHER, "ed25519")


def test_a_validator_that_the_operator_lists_needs_no_permit() -> None:
    assert SynapseBench(validators=ChosenValidators((MINER.hotkey,))).status(hotkey=MINER.hotkey) == 200


def test_a_validator_that_asks_too_often_is_told_so_and_nobody_can_use_up_its_rate() -> None:
    bench = SynapseBench(requests_per_second=1.0, request_burst=3.0)
    for _ in range(10):
        bench.status(valid=False, remote="198.51.100.1")
    assert [bench.status() for _ in range(5)] == [200, 200, 200, 429, 429]
    assert bench.status(hotkey=OTHER) == 200
    bench.advance(1)
    assert bench.status() == 200


def test_only_so_many_requests_of_one_validator_are_open() -> None:
    bench = SynapseBench()
    opened = [bench.query() for _ in range(MAX_OPEN)]
    assert bench.status() == 429
    assert bench.status(hotkey=OTHER) == 200
    bench.observe(QueryEnded(opened[0]))
    assert bench.status() == 200


def test_a_flood_of_failures_locks_out_strangers_of_its_address_and_no_known_validator() -> None:
    bench = SynapseBench(failures_per_second=1.0, failure_burst=5.0)
    assert bench.status() == 200
    for _ in range(40):
        bench.status(hotkey=OTHER, valid=False)
        bench.status(nonce="abc")
    assert bench.status(hotkey=OTHER) == 429
    assert bench.status(hotkey=OTHER, remote="198.51.100.1") == 200
    for _ in range(40):  # it is claimed by others, too
        bench.status(valid=False)
    assert bench.status() == 200


def test_the_budget_of_a_known_validator_has_an_end_too_and_is_its_own_for_an_hour() -> None:
    bench = SynapseBench(failures_per_second=1.0, failure_burst=5.0)
    assert bench.status() == 200
    for _ in range(5 * KNOWN_FACTOR):
        assert bench.status(valid=False) == 401
    assert bench.status() == 429
    assert bench.status(remote="198.51.100.1") == 200  # what one address sends says nothing of another
    bench.advance(KNOWN_FOR / SECOND)
    bench.nonce = bench.clock.wall() * 1000
    for _ in range(5):
        bench.status(hotkey=OTHER, valid=False)
    assert bench.status() == 429


def test_what_is_remembered_of_a_hotkey_ends_with_its_registration() -> None:
    bench = SynapseBench()
    bench.ask(make_game())
    bench.status(nonce="x")
    bench.observe(MetagraphSynced((NEURONS[2],)))
    assert (bench.actor.state.budgets, bench.actor.state.known) == ({}, {})
    assert bench.status() == 403


def test_a_miner_that_stops_refuses_and_answers_what_waits() -> None:
    bench = SynapseBench()
    waiting = bench.ask(make_game())
    bench.observe(NeuronDraining())
    assert bench.answered() == [waiting]
    assert bench.status() == 503


def test_a_check_whose_sender_has_left_comes_to_nothing() -> None:
    bench = SynapseBench()
    bench.query()
    asked = bench.last(QueryVerificationRequested)
    seq = bench.envelopes[-1].seq
    bench.observe(QueryEnded(asked.connection), SignatureChecked(asked.connection, seq, valid=True))
    assert len(bench.all(QueryAdmitted)) == 1


def test_a_refusal_names_its_claimed_sender() -> None:
    bench = SynapseBench()
    bench.query(nonce="abc", hotkey="<" * 100)
    assert (bench.last(QueryRefused).hotkey, bench.last(QueryRefused).remote) == ("<" * 64, REMOTE)
    bench.query(hotkey=None)
    assert bench.last(QueryRefused).hotkey is None


def test_a_body_that_cannot_be_used_is_refused() -> None:
    bench = SynapseBench()
    connection = bench.query()
    bench.observe(QueryUnreadable(connection, VALIDATOR, 408, "the body did not come within 20 s"))
    refused = bench.last(QueryRefused)
    assert (refused.status, refused.message) == (408, "the body did not come within 20 s")
    bench.observe(QueryUnreadable(connection, VALIDATOR, 400, "again"))
    assert len(bench.all(QueryRefused)) == 1


# --- a slate


def test_a_slate_is_a_snapshot_of_its_open_games_about_which_the_model_is_asked() -> None:
    bench = SynapseBench()
    started, over = make_game("started", starts_at=Micros(NOW - SECOND)), make_game("over", active=False)
    connection = bench.ask(make_game("a"), started, over)
    assert bench.last(GamesUpdated) == GamesUpdated(VALIDATOR, SYNAPSE_EPOCH, Offset(1), (make_game("a"),), True)
    assert [game.game_id for game in bench.last(PredictionsRequested).games] == ["a"]
    assert bench.answered() == []
    bench.observe(ModelAnswered(VALIDATOR, 0))
    assert bench.answered() == [connection]
    assert bench.last(QueryAnswered).uid == 2


def test_an_unchanged_slate_is_answered_at_once_and_a_changed_one_goes_on_counting() -> None:
    bench = SynapseBench()
    first = bench.ask(make_game("a"))
    bench.observe(ModelAnswered(VALIDATOR, 0))
    second = bench.ask(make_game("a"))
    assert bench.answered() == [first, second]
    bench.ask(make_game("a", team_a_odds=1.9))
    assert [event.offset for event in bench.all(GamesUpdated)] == [1, 2]


def test_a_model_that_is_slow_is_not_waited_for_longer_than_so() -> None:
    bench = SynapseBench(model_timeout=5.0)
    connection = bench.ask(make_game())
    bench.observe(ModelAnswered(OTHER, 3))
    bench.advance(4.9)
    assert bench.answered() == []
    bench.advance(0.1)
    assert bench.answered() == [connection]
    bench.observe(ModelAnswered(VALIDATOR, 3))
    assert bench.answered() == [connection]


def test_a_question_whose_sender_leaves_is_not_answered() -> None:
    bench = SynapseBench()
    connection = bench.ask(make_game())
    bench.observe(QueryEnded(connection))
    bench.advance(10)
    bench.observe(SlateQueried(connection, VALIDATOR, (make_game(),)))
    assert bench.all(PendingRequested) == []


def test_an_empty_slate_is_answered_at_once() -> None:
    bench = SynapseBench()
    connection = bench.ask()
    assert bench.answered() == [connection]
    assert bench.last(GamesUpdated).games == ()


def test_a_slate_that_is_too_large_is_refused_as_a_whole() -> None:
    bench = SynapseBench()
    game = make_game()
    bench.ask(*(replace(game, game_id=f"g{number}") for number in range(MAX_SLATE + 1)))  # type: ignore[arg-type]
    assert bench.last(QueryRefused).status == 400
    assert bench.last(PeerMisbehaved).hotkey == VALIDATOR
    assert bench.all(GamesUpdated) == []


def test_a_validator_with_a_session_gets_an_empty_answer_and_its_slate_is_ignored() -> None:
    bench = SynapseBench()
    bench.observe(SessionActivated(CONNECTION, VALIDATOR, Uid(0), SESSION))
    bench.ask(make_game())
    assert bench.last(QueryAnswered).predictions == ()
    assert bench.all(GamesUpdated) == []
    bench.observe(ConnectionClosed(CONNECTION, 1006, ""))
    bench.ask(make_game())
    assert len(bench.all(GamesUpdated)) == 1


def test_after_a_restart_the_slate_goes_on_where_it_was_and_the_model_is_asked_anew() -> None:
    bench = SynapseBench()
    known = (KnownSlate(VALIDATOR, SYNAPSE_EPOCH, Offset(7), (make_game(),)), KnownSlate(OTHER, EPOCH, Offset(9), ()))
    bench.observe(OutboxOpened((), known))
    bench.ask(make_game())
    bench.ask(make_game(), hotkey=OTHER)
    assert [event.offset for event in bench.all(GamesUpdated)] == [8, 1]
    assert len(bench.all(PredictionsRequested)) == 2


def test_an_answer_does_not_wait_for_a_model_that_is_not_asked() -> None:
    bench = SynapseBench()
    game = make_game()
    bench.observe(OutboxOpened((), (), imported=((VALIDATOR, game.game_id),)))
    bench.ask(game)
    assert bench.all(PredictionsRequested) == []
    assert [event.predictions for event in bench.all(QueryAnswered)] == [()]


def test_a_validator_that_was_away_from_the_subnet_has_its_slate_confirmed_anew() -> None:
    bench = SynapseBench()
    bench.ask(make_game())
    bench.observe(MetagraphSynced((NEURONS[1], NEURONS[2])), MetagraphSynced(NEURONS))
    bench.ask(make_game())
    assert len(bench.all(PredictionsRequested)) == 2


def test_a_stream_of_its_own_takes_over_and_synapse_takes_over_again() -> None:
    """The validator is replaced by a new one, and that by the existing one once more."""
    bench = SynapseBench()
    bench.ask(make_game("a"))
    bench.observe(MessageAccepted(CONNECTION, VALIDATOR, welcome()))
    bench.observe(MessageAccepted(CONNECTION, VALIDATOR, update(4, 3, make_game("b"))))
    assert bench.last(GamesUpdated).epoch == SYNAPSE_EPOCH  # no part of a stream fits on a slate of Synapse
    bench.observe(MessageAccepted(CONNECTION, VALIDATOR, update(4, None, make_game("b"))))
    assert bench.last(GamesUpdated) == GamesUpdated(VALIDATOR, EPOCH, Offset(4), (make_game("b"),), True)
    bench.ask(make_game("a"))
    assert bench.last(GamesUpdated) == GamesUpdated(VALIDATOR, SYNAPSE_EPOCH, Offset(2), (make_game("a"),), True)
    assert [game.game_id for game in bench.last(PredictionsRequested).games] == ["a"]


# --- verdicts


def test_a_confirmation_is_answered_and_its_figures_are_told() -> None:
    bench = SynapseBench()
    connection = bench.query()
    bench.observe(VerdictsConfirmed(connection, VALIDATOR, (Result("p", True, ""),), {"miner_rank": "3"}))  # type: ignore[arg-type]
    assert bench.last(QueryAnswered) == QueryAnswered(connection, VALIDATOR, Uid(2))
    assert bench.last(MinerStatsReported) == MinerStatsReported(VALIDATOR, {"miner_rank": "3"})
    bench.observe(VerdictsConfirmed(bench.query(), VALIDATOR, (), {}))
    assert len(bench.all(MinerStatsReported)) == 1
