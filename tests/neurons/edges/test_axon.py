"""The miner's port: what of a hostile request is read, what is answered, and what it costs the others."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bettensor.actors.settings import MinerSynapseSettings, PortLimits
from bettensor.bus.bus import EventBus
from bettensor.bus.errors import Unavailable
from bettensor.bus.events import (
    Event,
    FrameWritten,
    ListeningBegun,
    MessageRefused,
    NeuronDraining,
    PredictionMade,
    QueryAnswered,
    QueryEnded,
    QueryReceived,
    QueryRefused,
    QueryUnreadable,
    SlateQueried,
    VerdictReceived,
    VerdictsConfirmed,
)
from bettensor.bus.identifiers import Hotkey
from bettensor.bus.messages import PredictionMessage
from bettensor.neurons.edges import axon
from bettensor.neurons.edges.axon import FIRST_CONNECTION, Axon
from tests.dendrite import Answer
from tests.neurons.edges.axons import ME, OTHER, VALIDATOR, AxonBench, running_axon
from tests.support import Injected, make_game, make_identity, make_prediction, rfc3339_from_now


@pytest.fixture
async def bench() -> AsyncIterator[AxonBench]:
    async with running_axon() as bench:
        yield bench


def predict(bench: AxonBench, *ids: str, **changes: Any) -> None:
    for prediction_id in ids:
        made = make_prediction(prediction_id=prediction_id, **changes)
        bench.bus.publish(PredictionMade(Hotkey(VALIDATOR.ss58_address), made))


def refusal(answer: Answer) -> tuple[int, str]:
    """Status and message; the body of a refusal has nothing else."""
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.content) == ["message"]
    return answer.status, answer.content["message"]


async def test_an_answer_is_what_a_dendrite_and_an_existing_validator_take(bench: AxonBench) -> None:
    predict(bench, "p", tie_odds=None, predicted_outcome=1)
    dendrite = bench.dendrite()
    answer = await dendrite.ask()
    head, content = answer.headers, answer.content
    assert (answer.status, head["content-type"], head["name"]) == (200, "application/json", "GameData")
    assert (head["bt_header_axon_status_code"], head["bt_header_axon_status_message"]) == ("200", "Success")
    assert head["bt_header_axon_hotkey"] == content["axon"]["hotkey"] == ME
    assert float(head["bt_header_axon_process_time"]) >= 0
    assert float(head["timeout"]) == content["timeout"] == 12.0
    for name in ("ip", "nonce", "uuid", "hotkey", "signature", "version"):
        assert head[f"bt_header_dendrite_{name}"] == str(content["dendrite"][name])
    assert content["dendrite"]["hotkey"] == dendrite.hotkey
    assert all(isinstance(value, str) for value in content["metadata"].values())
    assert (content["metadata"]["synapse_type"], content["metadata"]["neuron_uid"]) == ("prediction", "1")
    prediction = content["prediction_dict"]["p"]
    assert (prediction["miner_uid"], prediction["tie_odds"], prediction["payout"]) == ("1", 0.0, 0.0)
    assert (prediction["predicted_outcome"], prediction["outcome"]) == (prediction["team_b"], "Unfinished")
    (written,) = bench.all(FrameWritten)
    assert (written.road, written.hotkey, written.connection) == ("synapse", dendrite.hotkey, FIRST_CONNECTION)
    assert isinstance(written.message, PredictionMessage)
    assert [p.prediction_id for p in written.message.predictions] == ["p"]


async def test_without_predictions_an_answer_says_so_and_nothing_is_written(bench: AxonBench) -> None:
    answer = await bench.dendrite().ask()
    assert (answer.status, answer.content["error"]) == (200, "No predictions available")
    assert answer.content["metadata"]["synapse_type"] == "error"
    assert answer.content["prediction_dict"] is None
    assert bench.all(FrameWritten) == []


async def test_a_confirmation_is_answered_with_the_synapse(bench: AxonBench) -> None:
    predict(bench, "p")
    dendrite = bench.dendrite()
    await dendrite.ask()
    answer = await dendrite.post(dendrite.confirmation_body({"p": ("True", "")}, {"miner_rank": "1"}))
    assert (answer.status, answer.content["metadata"]["synapse_type"]) == (200, "confirmation")
    assert [event.code for event in bench.all(VerdictReceived)] == ["accepted"]


async def test_a_pool_keeps_its_connection(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    async with dendrite.line() as line:
        for _ in range(3):
            assert (await line.request(dendrite.head(), dendrite.games_body([]))).status == 200
        refused = await line.request(dendrite.head(dendrite_nonce="abc"), dendrite.games_body([]))
        assert refused.status == 400
        assert (await line.request(dendrite.head(), dendrite.games_body([]))).status == 200


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (400, {"dendrite_signature": None}),
        (400, {"dendrite_signature": ""}),
        (400, {"dendrite_signature": "0x"}),
        (401, {"dendrite_signature": f"0x{'ab' * 64}"}),
        (401, {"signer": OTHER}),
        (401, {"signed_for": OTHER.ss58_address}),
        (401, {"axon_hotkey": OTHER.ss58_address}),
        (401, {"axon_hotkey": OTHER.ss58_address, "signed_for": ME}),
        (200, {"axon_hotkey": None}),
        (403, {"dendrite_hotkey": "5" + "A" * 47}),
        (400, {"dendrite_nonce": "abc"}),
        (401, {"dendrite_nonce": "1795850719333621640", "timeout": "100000", "dendrite_version": "0"}),
        (400, {"computed_body_hash": "a" * 64}),
        (400, {"computed_body_hash": None}),
    ],
)
async def test_no_hole_of_the_original_is_open(bench: AxonBench, status: int, changes: dict[str, Any]) -> None:
    dendrite = bench.dendrite()
    answer = await dendrite.post(dendrite.games_body([]), dendrite.head(**changes))
    assert answer.status == status
    if status != 200:
        assert refusal(answer)
        assert bench.all(SlateQueried) == []


async def test_a_replay_is_refused(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    head = dendrite.head()
    assert [(await dendrite.post(dendrite.games_body([]), head)).status for _ in range(2)] == [200, 401]


async def test_a_header_that_occurs_twice_is_refused(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    head = [*dendrite.head(), ("bt_header_dendrite_hotkey", dendrite.hotkey)]
    assert refusal(await dendrite.post(dendrite.games_body([]), head))[0] == 400


async def test_who_asks_is_who_has_signed_and_not_what_the_body_says(bench: AxonBench) -> None:
    predict(bench, "p")
    attacker = bench.dendrite(OTHER)
    forged = {"dendrite": {"hotkey": VALIDATOR.ss58_address}, "axon": {"hotkey": OTHER.ss58_address}}
    answer = await attacker.post(attacker.games_body([], **forged))
    assert answer.content["prediction_dict"] is None
    assert answer.content["axon"]["hotkey"] == ME
    await attacker.post(attacker.body("confirmation", confirmation_dict={"p": {"success": "True"}}, **forged))
    assert bench.all(VerdictReceived) == []
    assert {event.hotkey for event in bench.all(SlateQueried)} == {OTHER.ss58_address}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/GameData", 405), ("PUT", "/GameData", 405), ("POST", "/Synapse", 404), ("GET", "/ws?netuid=30", 404)],
)
async def test_only_one_path_is_answered(bench: AxonBench, method: str, path: str, status: int) -> None:
    dendrite = bench.dendrite()
    answer = await dendrite.post(b"", dendrite.head(), method=method, path=path)
    assert refusal(answer)[0] == status
    assert (answer.headers.get("allow") == "POST") == (status == 405)


async def test_a_websocket_is_refused_as_any_other_path(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    async with dendrite.line() as line:
        line.send([("Connection", "Upgrade"), ("Upgrade", "websocket")], b"", "GET", "/ws", None)
        assert refusal(await line.answer())[0] == 404
        assert await line.is_cut()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"metadata":' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper than 32"),
        (b'{"metadata":null}', "metadata must be an object"),
        (b'{"metadata":{"synapse_type":"game_data"},"gamedata_dict":[]}', "gamedata_dict must be an object"),
        (b'{"metadata":{"synapse_type":"prediction"}}', "synapse_type"),
    ],
)
async def test_a_body_that_is_no_game_data_is_refused(bench: AxonBench, body: bytes, words: str) -> None:
    status, message = refusal(await bench.dendrite().post(body))
    assert status == 400
    assert words in message


async def test_a_packed_body_is_refused_before_it_is_read(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    packed = gzip.compress(dendrite.games_body([]))
    answer = await dendrite.post(packed, [*dendrite.head(), ("Content-Encoding", "gzip")])
    assert refusal(answer)[0] == 415


async def test_a_body_without_its_length_is_refused(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    async with dendrite.line() as line:
        line.send([*dendrite.head(), ("Transfer-Encoding", "chunked")], b"1\r\na\r\n0\r\n\r\n", length=None)
        assert refusal(await line.answer())[0] == 413


async def test_a_body_of_11_mb_is_refused_by_its_length_and_its_sender_can_read_that(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    answer = await dendrite.post(b" " * 11_000_000)
    assert refusal(answer)[0] == 413
    assert bench.all(QueryUnreadable) == []


async def test_a_large_slate_is_read_while_others_are_answered(bench: AxonBench) -> None:
    games = [make_game(str(number), event_start_date=rfc3339_from_now(3600)) for number in range(10_000)]
    slow, quick = bench.dendrite(), bench.dendrite(OTHER)
    large = asyncio.create_task(slow.ask(*games))
    await bench.until(lambda: bench.all(QueryReceived))
    assert (await quick.ask()).status == 200
    assert (await large).status == 200
    assert sorted(len(event.games) for event in bench.all(SlateQueried)) == [0, 10_000]


async def test_a_body_that_never_comes_is_given_up(bench: AxonBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axon, "BODY_TIMEOUT", 0.2)
    dendrite = bench.dendrite()
    async with dendrite.line() as line:
        line.send(dendrite.head(), b"{", length=1000)
        assert refusal(await line.answer()) == (408, "the body did not come within 0.2 s")
    assert (await dendrite.ask()).status == 200


async def test_a_refusal_does_not_wait_for_the_body(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    async with dendrite.line() as line:
        line.send(dendrite.head(dendrite_nonce="abc"), b"x" * 1000, length=8_000_000)
        assert refusal(await line.answer())[0] == 400
    await bench.until(lambda: bench.all(QueryEnded))
    assert bench.all(QueryUnreadable) == []


async def test_a_sender_that_leaves_is_forgotten(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    async with dendrite.line() as line:
        line.send(dendrite.head(), b"{", length=1000)
        await bench.until(lambda: bench.all(QueryReceived))
    await bench.until(lambda: bench.all(QueryEnded))
    assert bench.actor.state.questions == {}


async def test_what_its_sender_did_not_wait_for_was_not_written(bench: AxonBench) -> None:
    predict(bench, "first")
    bench.store.held = True
    predict(bench, "second")
    dendrite = bench.dendrite()
    async with dendrite.line() as line:
        line.send(dendrite.head(), dendrite.games_body([]))
        await bench.until(lambda: bench.all(SlateQueried))
    await bench.until(lambda: bench.all(QueryEnded))
    bench.store.release()
    assert bench.all(FrameWritten) == []
    assert bench.all(QueryAnswered) == []


async def test_an_answer_waits_for_the_disk_and_not_for_one_that_is_full(bench: AxonBench) -> None:
    predict(bench, "first")
    bench.store.held = True
    predict(bench, "second")
    answering = asyncio.create_task(bench.dendrite().ask())
    await bench.until(lambda: bench.all(SlateQueried))
    bench.store.failing = "the disk is full"
    bench.store.release()
    assert list((await answering).content["prediction_dict"]) == ["first"]


async def test_a_request_that_an_actor_cannot_handle_is_answered(bench: AxonBench) -> None:
    bench.store.held = True
    predict(bench, "p")
    answering = asyncio.create_task(bench.dendrite().ask())
    await bench.until(lambda: bench.all(SlateQueried))
    failed = MessageRefused(bench.last(SlateQueried).connection, None, "internal", "this message could not be handled")
    bench.bus.publish(Injected(failed))  # by the supervisor
    assert refusal(await answering) == (500, "this request could not be handled")


async def test_stopping_refuses_new_requests_and_waits_for_those_under_way(bench: AxonBench) -> None:
    bench.store.held = True
    predict(bench, "p")
    waiting = asyncio.create_task(bench.dendrite().ask())
    await bench.until(lambda: bench.all(SlateQueried))
    await bench.axon.pause()
    assert bench.all(NeuronDraining)
    assert refusal(await bench.dendrite(OTHER).ask())[0] == 503
    settling = asyncio.create_task(bench.axon.settle())
    await asyncio.sleep(0)
    assert not settling.done()
    bench.store.release()
    await settling
    assert list((await waiting).content["prediction_dict"]) == ["p"]
    await bench.axon.settle()


async def test_a_request_before_the_answer_to_the_one_before_is_refused_after_it(bench: AxonBench) -> None:
    bench.store.held = True
    predict(bench, "p")
    dendrite = bench.dendrite()
    async with dendrite.line() as line:
        line.send(dendrite.head(), dendrite.games_body([]))
        await bench.until(lambda: bench.all(SlateQueried))
        line.send(dendrite.head(), dendrite.games_body([]))
        await bench.dendrite(OTHER).ask()  # what was sent before this has come
        bench.store.release()
        assert (await line.answer()).status == 200
        assert refusal(await line.answer())[0] == 400
        assert await line.is_cut()
    assert len(bench.all(QueryReceived)) == 2


async def test_a_timeout_that_is_no_number_of_seconds_is_taken_for_the_usual_one(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    for timeout in ("soon", "nan", None):
        answer = await dendrite.post(dendrite.games_body([]), dendrite.head(timeout=timeout, dendrite_version="x" * 20))
        assert (answer.headers["timeout"], answer.content["dendrite"]["version"]) == ("12.0", None)


async def test_of_a_head_only_what_is_judged_is_in_an_event(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    odd = {
        "Authorization": "SECRET",
        "X-My-Own": "SECRET",
        "X-Forwarded-For": "SECRET",
        "bt_header_dendrite_ip": "SECRET",
    }
    head = [pair for pair in dendrite.head() if pair[0] not in odd]
    answer = await dendrite.post(dendrite.games_body([]), [*head, *odd.items()])
    assert (answer.status, answer.content["dendrite"]["ip"]) == (200, "SECRET")  # to him who said it
    await dendrite.post(b"SECRET", dendrite.head(dendrite_nonce="SECRET", dendrite_hotkey="SECRET"))
    assert bench.last(QueryRefused).hotkey is None
    assert "SECRET" not in repr(bench.all(Event))


async def test_it_says_where_it_listens_and_what_to_do_if_it_cannot(bench: AxonBench) -> None:
    port = bench.axon.port
    assert bench.last(ListeningBegun).endpoint == f"127.0.0.1:{port}"
    settings = MinerSynapseSettings(ip="127.0.0.1", port=port)
    other = Axon(settings, PortLimits(), make_identity(role="miner"), bench.clock)
    other.attach(EventBus(bench.clock))
    with pytest.raises(
        Unavailable, match=rf"synapse\.ip '127\.0\.0\.1', synapse\.port {port}: .*another synapse\.port"
    ):
        await other.open()
    await other.pause()
    await other.close()


async def test_refusals_are_events(bench: AxonBench) -> None:
    dendrite = bench.dendrite()
    await dendrite.post(b"", dendrite.head(dendrite_nonce="abc"))
    refused = bench.last(QueryRefused)
    assert (refused.status, refused.remote, refused.hotkey) == (400, "127.0.0.1", dendrite.hotkey)


async def test_verdicts_of_another_validator_settle_nothing(bench: AxonBench) -> None:
    predict(bench, "p")
    await bench.dendrite().ask()
    attacker = bench.dendrite(OTHER)
    await attacker.post(attacker.confirmation_body({"p": ("True", "")}))
    assert bench.last(VerdictsConfirmed).hotkey == attacker.hotkey
    assert bench.all(VerdictReceived) == []
    bench.bus.publish(Injected(QueryAnswered(bench.last(QueryReceived).connection, Hotkey(ME), None)))  # long ended
