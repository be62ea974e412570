"""MonitorActor: who is in the metagraph and not connected, and why where it is known."""

from typing import Any

import pytest

from bettensor.actors.cures import (
    ANNOUNCE,
    ANSWERS_HTTP,
    FOREIGN_CERTIFICATE,
    NO_ANSWER,
    NO_ENDPOINT,
    NO_PERMIT,
    ON_MINER,
    ON_VALIDATOR,
    PUBLIC_AXON,
    UNPERMITTED,
    UNREAD,
    cure_for_axon,
)
from bettensor.actors.monitor import MAX_SHOWN, MonitorActor
from bettensor.bus.codes import CloseCode, RefusalCode
from bettensor.bus.events import (
    AnnouncementContested,
    AnnouncementSettled,
    AxonAnswered,
    AxonConfirmed,
    AxonFailed,
    AxonPassedOver,
    CertificateDoubted,
    ChainFailed,
    CommitFailed,
    ConnectionClosed,
    DialFailed,
    Event,
    FallbackChosen,
    FeedFailed,
    GamesFetched,
    GamesUpdated,
    HandlerFailed,
    HandlerOverflowed,
    KnownSlate,
    MetagraphSynced,
    NeuronDraining,
    NeuronInfo,
    NeuronStarted,
    OddsDoubted,
    OutboxOpened,
    PeerRefused,
    PostAnswered,
    PostFailed,
    PredictionsSaved,
    PredictionsStored,
    QueryAdmitted,
    QueryRefused,
    ReloadFailed,
    Role,
    RowsSkipped,
    SaveFailed,
    SessionActivated,
    SettingsReloaded,
    StatusReported,
    StatusRequested,
    SynapseAsked,
    UpdateStored,
    UpdateStoreFailed,
    ValidatorsMissed,
    VerdictReceived,
    VerifiersFailed,
    VerifiersResumed,
    WithheldGame,
)
from bettensor.bus.identifiers import ConnectionId, Epoch, Hotkey, Micros, Offset, SessionId, Uid
from tests.support import HOUR, NETUID, NOW, Harness, make_game, make_hotkey, make_prediction

ME, PEER = make_hotkey("me"), make_hotkey("peer")


def neuron(axon: str | None = "10.0.0.1:8091", permit: bool = True, uid: int = 3) -> NeuronInfo:
    return NeuronInfo(Uid(uid), PEER, validator_permit=permit, axon=axon)


class Bench(Harness):
    def __init__(self, role: Role, *neurons: NeuronInfo) -> None:
        super().__init__(MonitorActor())
        self.observe(NeuronStarted(role, NETUID, ME, "sr25519", 0), MetagraphSynced(neurons))

    def status(self) -> dict[str, Any]:
        self.observe(StatusRequested(1))
        return self.last(StatusReported).status

    def peers(self) -> dict[Hotkey, dict[str, Any]]:
        return {peer["hotkey"]: peer for peer in self.status()["peers"]}


def test_an_operator_sees_the_health_that_is_told_to_everybody() -> None:
    bench = Bench("validator")
    assert bench.status()["health"] == "online"
    bench.observe(UpdateStoreFailed("disk full"))
    assert bench.status()["health"] == "degraded"
    bench.observe(UpdateStored(()))
    assert bench.status()["health"] == "online"
    bench.observe(NeuronDraining())
    assert bench.status()["health"] == "offline"


@pytest.mark.parametrize(
    ("role", "failure", "success", "told"),
    [
        ("miner", SaveFailed(1, "disk full"), PredictionsSaved(1), "the outbox cannot be written, so predictions wait"),
        (
            "validator",
            ReloadFailed("disk full"),
            SettingsReloaded({}, (), ()),
            "a changed file cannot be used, so the old",
        ),
        ("validator", CommitFailed(1, "disk full"), PredictionsStored(1, ()), "the ledger cannot be written"),
        ("validator", VerifiersFailed("disk full"), VerifiersResumed(), "a signature verifier process cannot start"),
    ],
)
def test_a_failure_is_told_while_it_lasts(role: Role, failure: Event, success: Event, told: str) -> None:
    bench = Bench(role)
    bench.observe(failure, failure)
    (trouble,) = bench.status()["notices"]
    assert told in trouble
    assert trouble.endswith(": disk full")
    bench.observe(success)
    assert bench.status()["notices"] == []


def test_every_fault_has_the_time_since_it_last_happened() -> None:
    bench = Bench("miner")
    bench.observe(CommitFailed(1, "disk full"), HandlerFailed("m:f", "x", "Traceback"), HandlerFailed("m:g", "x", ""))
    bench.advance(5)
    bench.observe(
        CommitFailed(2, "disk full"), FallbackChosen(PEER, "no_verdict", "x"), HandlerOverflowed("m:g", "x", 7)
    )
    bench.advance(60)
    status = bench.status()
    assert status["troubles"] == {"commit_failed": 2}
    assert status["last_s"] == {"commit_failed": 60.0, "m:f": 65.0, "m:g": 60.0, "no_verdict": 60.0}


@pytest.mark.parametrize("role", ["validator", "miner"])
def test_before_the_first_reading_of_the_metagraph_an_operator_is_not_told_to_register(role: Role) -> None:
    bench = Harness(MonitorActor())
    bench.observe(NeuronStarted(role, NETUID, ME, "sr25519", 0), StatusRequested(1))
    status = bench.last(StatusReported).status
    assert (status["registered"], status["uid"], status["health"]) == (None, None, "degraded")
    assert status["notices"] == [f"this {role} has not read the metagraph yet: {UNREAD}"]
    bench.observe(ChainFailed("no route", Micros(0)), StatusRequested(2))
    notices = bench.last(StatusReported).status["notices"]
    assert notices == [f"this {role} has not read the metagraph yet: no route: {UNREAD}"]
    bench.observe(MetagraphSynced((neuron(),)), StatusRequested(3))
    status = bench.last(StatusReported).status
    assert (status["registered"], status["notices"], status["health"]) == (False, [], "online")


def test_a_validator_without_a_permit_is_told_so() -> None:
    bench = Bench("validator", NeuronInfo(Uid(0), ME))
    assert bench.status()["notices"] == [f"{UNPERMITTED}: {NO_PERMIT}"]
    bench.observe(MetagraphSynced((NeuronInfo(Uid(0), ME, validator_permit=True),)))
    assert bench.status()["notices"] == []
    assert Bench("miner", NeuronInfo(Uid(0), ME)).status()["notices"] == []


def test_a_miner_without_a_validator_is_told_so_until_it_has_one() -> None:
    bench = Bench("miner")
    bench.observe(ValidatorsMissed("there is none", "wait"))
    assert bench.status()["notices"] == ["there is none: wait"]
    bench.observe(ValidatorsMissed(""))
    assert bench.status()["notices"] == []


def test_a_step_of_the_wall_clock_does_not_change_for_how_long_a_neuron_runs() -> None:
    bench = Bench("validator")
    bench.advance(7)
    bench.clock.step_wall(HOUR)
    assert bench.status()["uptime_s"] == 7


def test_a_validator_without_an_endpoint_is_told_until_it_has_one() -> None:
    bench = Bench("miner", neuron(None))
    peer = bench.peers()[PEER]
    assert (peer["state"], peer["trouble"], peer["cure"]) == ("not connected", NO_ENDPOINT, ANNOUNCE)
    bench.observe(MetagraphSynced((neuron(),)))
    assert bench.peers()[PEER]["trouble"] == ""
    bench.observe(DialFailed(ConnectionId(1), PEER, "refused"), MetagraphSynced((neuron(),)))
    assert bench.peers()[PEER]["trouble"] == "refused"


def test_a_contested_announcement_is_told_until_it_is_settled() -> None:
    bench = Bench("miner", NeuronInfo(Uid(1), ME))
    bench.observe(AnnouncementContested("1.2.3.4:5", "1.2.3.4:6", NOW, NOW, True, HOUR, 0))
    (notice,) = bench.status()["notices"]
    assert notice.startswith("another process of this hotkey announces its own endpoint: the chain has 1.2.3.4:6, ")
    assert "synapse.serve: false" in notice
    bench.observe(AnnouncementSettled("1.2.3.4:5"))
    assert bench.status()["notices"] == []


def test_a_validator_that_answers_by_http_is_no_longer_said_to_be_down() -> None:
    bench = Bench("miner")
    bench.observe(DialFailed(ConnectionId(1), PEER, "refused"))
    assert bench.peers()[PEER]["cure"] == NO_ANSWER
    bench.observe(PostAnswered(ConnectionId(2), PEER))
    peer = bench.peers()[PEER]
    assert (peer["state"], peer["cure"]) == ("by HTTP", ANSWERS_HTTP)


def test_a_miner_does_not_list_who_it_has_no_business_with() -> None:
    assert Bench("miner", neuron(None, permit=False)).peers() == {}
    assert list(Bench("validator", neuron(None, permit=False)).peers()) == [PEER]


def test_who_has_left_the_subnet_has_no_uid_any_more() -> None:
    bench = Bench("validator", neuron())
    bench.observe(MetagraphSynced((neuron(uid=7),)))
    assert bench.peers()[PEER]["uid"] == 7
    bench.observe(MetagraphSynced(()))
    assert (bench.peers()[PEER]["uid"], bench.peers()[PEER]["registered"]) == (None, False)


@pytest.mark.parametrize(
    ("role", "code", "cure"),
    [
        ("validator", CloseCode.NOT_REGISTERED, ON_VALIDATOR[RefusalCode.NOT_REGISTERED]),
        ("validator", CloseCode.BLACKLISTED, ON_VALIDATOR[RefusalCode.BLACKLISTED]),
        ("validator", CloseCode.WRONG_SCHEME, ON_VALIDATOR[RefusalCode.WRONG_SCHEME]),
        ("miner", CloseCode.BLACKLISTED, ON_MINER[RefusalCode.BLACKLISTED]),
        ("miner", CloseCode.WRONG_SCHEME, ON_MINER[RefusalCode.WRONG_SCHEME]),
        ("miner", CloseCode.ABNORMAL, ""),
    ],
)
def test_a_session_that_was_closed_is_told_with_its_cure(role: Role, code: CloseCode, cure: str) -> None:
    bench = Bench(role, neuron())
    bench.observe(SessionActivated(ConnectionId(1), PEER, Uid(3), SessionId("5" * 32)))
    bench.observe(ConnectionClosed(ConnectionId(1), code, "why"))
    peer = bench.peers()[PEER]
    assert (peer["trouble"], peer["cure"]) == (f"closed: {int(code)} why", cure)


@pytest.mark.parametrize(
    ("micros", "percentiles"),
    [
        ([], None),
        ([3000], {"p50": 3.0, "p99": 3.0}),
        ([9000, 1000], {"p50": 1.0, "p99": 9.0}),  # the nearest rank, as everywhere: until 0.1.0 it was their mean
        ([1000 * n for n in range(101)], {"p50": 50.0, "p99": 99.0}),
    ],
)
def test_of_few_verdicts_the_slowest_is_the_99th_percentile(micros: list[int], percentiles: Any) -> None:
    bench = Bench("miner", neuron())
    for latency in micros:
        bench.observe(VerdictReceived(PEER, make_prediction(), True, "accepted", "", Micros(latency)))
    bench.observe(StatusRequested(1))
    assert bench.last(StatusReported).status["latency_ms"] == percentiles


@pytest.mark.parametrize("is_of_0_1", [True, False])
@pytest.mark.parametrize("slates", [True, False])
def test_the_games_are_in_a_status_of_release_0_1_0_alone(slates: bool, is_of_0_1: bool) -> None:
    bench = Harness(MonitorActor())
    bench.observe(NeuronStarted("miner", NETUID, ME, "sr25519", 0, is_of_0_1=is_of_0_1))
    known = KnownSlate(PEER, Epoch("e" * 32), Offset(1), (make_game("g"),))
    bench.observe(OutboxOpened((), (known,)))
    bench.observe(GamesUpdated(PEER, Epoch("e" * 32), Offset(2), (make_game("h"),), snapshot=False))
    bench.observe(StatusRequested(1, slates))
    status = bench.last(StatusReported).status
    shown = [game["game_id"] for slate in status.get("slates", []) for game in slate["games"]]
    assert shown == (["g", "h"] if slates and is_of_0_1 else [])
    assert ("slates" in status) == (slates and is_of_0_1)


FAULTY = ("feed_fault", "withheld", "skipped_rows")


def test_a_neuron_whose_files_are_right_says_nothing_of_them() -> None:
    bench = Bench("validator")
    bench.observe(GamesFetched("f", (), (WithheldGame("old", "it started", started=True),), Epoch("e" * 32)))
    assert [key for key in FAULTY if key in bench.status()] == []


def test_withheld_games_are_in_the_status_until_they_are_right() -> None:
    bench = Bench("validator")
    bench.observe(GamesFetched("f", (), (WithheldGame("a", "null"),), Epoch("e" * 32)))
    bench.observe(OddsDoubted((WithheldGame("b", "odds"),)))
    first = [{"game_id": "a", "reason": "null"}, {"game_id": "b", "reason": "odds"}]
    assert bench.status()["withheld"] == {"count": 2, "first": first}
    bench.observe(GamesFetched("f", (), (), Epoch("e" * 32)), OddsDoubted(()))
    assert "withheld" not in bench.status()
    many = tuple(WithheldGame(f"g{n}", "null") for n in range(100))
    bench.observe(GamesFetched("f", (), many, Epoch("e" * 32)))
    assert (bench.status()["withheld"]["count"], len(bench.status()["withheld"]["first"])) == (100, MAX_SHOWN)


def test_why_the_games_cannot_be_read_is_in_the_status_until_they_can() -> None:
    bench = Bench("validator")
    bench.observe(FeedFailed("games.json", "not JSON"))
    assert (bench.status()["feed_fault"], bench.status()["health"]) == ("not JSON", "degraded")
    bench.observe(GamesFetched("f", (), (), Epoch("e" * 32), fault="500"))
    assert (bench.status()["feed_fault"], bench.status()["health"]) == ("500", "degraded")
    bench.observe(GamesFetched("f", (), (), Epoch("e" * 32)))
    assert "feed_fault" not in bench.status()


def test_skipped_rows_are_in_the_status_until_they_are_right() -> None:
    bench = Bench("miner")
    bench.observe(RowsSkipped("metagraph", "m.yaml", ("neurons.0: x",)), RowsSkipped("blacklist", "b.yaml", ()))
    assert bench.status()["skipped_rows"] == {"metagraph": {"file": "m.yaml", "count": 1, "first": ["neurons.0: x"]}}
    bench.observe(RowsSkipped("metagraph", "m.yaml", ()))
    assert "skipped_rows" not in bench.status()


def test_an_existing_validator_that_asks_a_validator_is_no_trouble() -> None:
    bench = Bench("validator", neuron())
    refused = PeerRefused(ConnectionId(1), RefusalCode.STALE, "too old", "1.2.3.4", PEER)
    bench.observe(refused, SynapseAsked(ConnectionId(2), PEER, "1.2.3.4"))
    bench.advance(180)
    peer = bench.peers()[PEER]
    assert (peer["state"], peer["transport"], peer["asked_s"]) == ("speaks Synapse", None, 180)
    assert (peer["trouble"], peer["cure"], peer["trouble_s"]) == ("", "", None)
    bench.advance(3600)  # it has not asked again
    peer = bench.peers()[PEER]
    assert (peer["state"], peer["trouble"]) == ("not connected", "stale: too old")
    bench.observe(
        SessionActivated(ConnectionId(3), PEER, Uid(3), SessionId("")), SynapseAsked(ConnectionId(4), PEER, "")
    )
    assert bench.peers()[PEER]["state"] == "connected"


def test_who_claims_to_be_a_neuron_that_the_subnet_does_not_have_is_not_remembered() -> None:
    bench = Bench("validator", neuron())
    bench.observe(SynapseAsked(ConnectionId(1), make_hotkey("other"), ""), SynapseAsked(ConnectionId(1), None, ""))
    assert list(bench.peers()) == [PEER]
    assert "asked_s" not in bench.peers()[PEER]


def test_an_existing_validator_that_asks_a_miner_is_heard_by_synapse() -> None:
    bench, query = Bench("miner", neuron()), QueryAdmitted(ConnectionId(1 << 40), PEER)
    bench.observe(DialFailed(ConnectionId(1), PEER, "refused"), query)
    bench.observe(DialFailed(ConnectionId(2), PEER, "refused"))  # nothing listens at its endpoint
    bench.advance(60)
    status = bench.status()
    (peer,) = status["peers"]
    assert (peer["state"], peer["transport"], peer["heard_s"], peer["asked_s"]) == ("by Synapse", "synapse", 60, 60)
    assert (peer["trouble"], peer["cure"]) == ("", "")
    assert status["roads"] == {"websocket": 0, "http": 0, "synapse": 1}
    bench.observe(PostAnswered(ConnectionId(-1), PEER))  # it has been replaced by a new one
    assert bench.peers()[PEER]["transport"] == "http"
    bench.observe(PostFailed(ConnectionId(-2), PEER, "refused"), query)  # and is back
    assert bench.peers()[PEER]["transport"] == "synapse"
    bench.advance(3601)
    assert bench.peers()[PEER]["state"] == "not seen"
    bench.observe(SessionActivated(ConnectionId(3), PEER, Uid(3), SessionId("")), query)
    assert bench.status()["roads"] == {"websocket": 1, "http": 0, "synapse": 0}


def test_an_existing_validator_that_may_not_ask_is_shown_with_the_reason() -> None:
    bench = Bench("miner", neuron())
    for hotkey in (PEER, make_hotkey("other"), None):
        bench.observe(QueryRefused(ConnectionId(1 << 40), 403, "it has 5 staked", "1.2.3.4", hotkey))
    bench.observe(QueryRefused(ConnectionId(1 << 40), 401, "another reason", "1.2.3.4", PEER))
    assert list(bench.peers()) == [PEER]
    assert bench.peers()[PEER]["trouble"] == "asked over Synapse, and was refused: it has 5 staked"
    bench.observe(SessionActivated(ConnectionId(3), PEER, Uid(3), SessionId("")))
    bench.observe(QueryRefused(ConnectionId(1 << 40), 403, "it has 5 staked", "1.2.3.4", PEER))
    assert bench.peers()[PEER]["trouble"] == ""


# --- existing miners


def test_an_existing_miner_is_shown_with_its_road_its_words_and_the_cure() -> None:
    bench = Bench("validator", NeuronInfo(Uid(3), PEER, axon="203.0.113.7:8091"))
    bench.observe(AxonFailed(ConnectionId(-1), PEER, "203.0.113.7:8091: 403 no permit", 403))
    peer = bench.peers()[PEER]
    assert (peer["state"], peer["transport"]) == ("not connected", None)
    assert (peer["trouble"], peer["cure"]) == ("203.0.113.7:8091: 403 no permit", cure_for_axon(403))
    for event in (AxonAnswered(ConnectionId(-2), PEER, ()), AxonConfirmed(ConnectionId(-2), PEER)):
        bench.advance(5)
        bench.observe(event)
        bench.advance(2)
        peer = bench.peers()[PEER]
        assert (peer["state"], peer["transport"], peer["heard_s"]) == ("by Synapse", "synapse", 2.0)
        assert (peer["trouble"], peer["cure"], peer["trouble_s"]) == ("", "", None)
    bench.observe(AxonPassedOver(PEER, "10.0.0.7:1", "10.0.0.7:1 is no public address"))
    assert bench.peers()[PEER]["cure"] == PUBLIC_AXON


def test_a_miner_with_a_session_is_not_shown_by_what_its_axon_does() -> None:
    bench = Bench("validator", NeuronInfo(Uid(3), PEER, axon="203.0.113.7:8091"))
    bench.observe(SessionActivated(ConnectionId(1), PEER, Uid(3), SessionId("5" * 32)))
    for event in (
        AxonFailed(ConnectionId(-1), PEER, "no answer"),
        AxonPassedOver(PEER, "10.0.0.7:1", "no public address"),
        AxonAnswered(ConnectionId(-1), PEER, ()),
    ):
        bench.observe(event)
        peer = bench.peers()[PEER]
        assert (peer["state"], peer["transport"], peer["trouble"]) == ("connected", "websocket", "")


def test_a_session_says_whether_it_has_tls_and_a_doubted_certificate_is_the_reason_why_there_is_none() -> None:
    bench = Bench("miner", NeuronInfo(Uid(3), PEER))
    for tls in (True, False):
        bench.observe(SessionActivated(ConnectionId(1), PEER, Uid(3), SessionId("5" * 32), tls))
        assert bench.peers()[PEER]["tls"] is tls
    bench.observe(SessionActivated(ConnectionId(2), PEER, Uid(3), SessionId("5" * 32), tls=True))
    bench.observe(ConnectionClosed(ConnectionId(2), 1006, ""))
    assert bench.peers()[PEER]["tls"] is False
    bench.observe(CertificateDoubted(PEER, "it is another"))
    peer = bench.peers()[PEER]
    assert (peer["state"], peer["trouble"], peer["cure"]) == ("not connected", "it is another", FOREIGN_CERTIFICATE)
