"""The validator's questions to existing miners: a real Dendrite's request, and all that a miner may answer."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bittensor_core import Keypair

from bettensor.actors.settings import AxonSettings, ValidatorSynapseSettings
from bettensor.bus import synapse
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    AxonAnswered,
    AxonConfirmed,
    AxonConfirmRequested,
    AxonFailed,
    AxonQueryRequested,
    CloseRequested,
    ConnectionClosed,
    Decided,
    EdgeFailed,
    Event,
    GamesUpdated,
    MetagraphSynced,
    NeuronInfo,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import ConnectionId, Epoch, Hotkey, Micros, Offset, PredictionId, Uid
from bettensor.bus.synapse import Result
from bettensor.bus.timestamps import parse_rfc3339
from bettensor.neurons.edges.dendrite import FAREWELL, MAX_LARGE, Dendrite
from bettensor.neurons.edges.http_exchange import LARGE
from bettensor.neurons.edges.keys import Keys
from tests.loopback.existing import (
    ExistingMiner,
    Serve,
    crumble,
    drip,
    drip_head,
    forms,
    hang,
    leave,
    packed,
    pour,
    pour_headers,
    pour_hints,
    read_request,
    saying,
    serving,
    speak_otherwise,
)
from tests.neurons.edges.validators import PATIENCE, recording_proxy
from tests.support import Injected, make_game, rfc3339_from_now

KEYPAIR = Keypair.create_from_uri("//Alice")
ME = Hotkey(KEYPAIR.ss58_address)
MINER = Hotkey(Keypair.create_from_uri("//Bob").ss58_address)
HEADERS = [
    "Host",
    "name",
    "timeout",
    "bt_header_axon_ip",
    "bt_header_axon_port",
    "bt_header_axon_hotkey",
    "bt_header_dendrite_ip",
    "bt_header_dendrite_version",
    "bt_header_dendrite_nonce",
    "bt_header_dendrite_uuid",
    "bt_header_dendrite_hotkey",
    "bt_header_dendrite_signature",
    "header_size",
    "total_size",
    "computed_body_hash",
    "Accept",
    "Accept-Encoding",
    "User-Agent",
    "Content-Length",
    "Content-Type",
]
"""As a Dendrite of bittensor 10.5 was heard to send them."""


class NoStore:
    """A database that is never at work."""

    async def settle(self) -> None:
        return


class Bench:
    """The edge on a bus, and all that it observes."""

    def __init__(self, **settings: Any) -> None:
        self.heard: list[Event] = []
        self.bus = EventBus(SystemClock())
        self.bus.subscribe("*", self._hear, "test")
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        given = ValidatorSynapseSettings(**({"timeout": 5.0} | settings))
        self.edge = Dendrite(given, AxonSettings(external_ip="203.0.113.9"), Keys(KEYPAIR), NoStore(), SystemClock())
        self.edge.attach(self.bus)
        self._news = asyncio.Event()

    def decide(self, event: Decided) -> None:
        self.bus.publish(Injected(event))

    def offer(self, *games: TeamGame, snapshot: bool = True) -> None:
        self.decide(GamesUpdated(ME, Epoch("e" * 32), Offset(1), games, snapshot))

    def ask(self, endpoint: str, number: int = 1) -> None:
        self.decide(AxonQueryRequested(ConnectionId(-number), MINER, endpoint))

    def confirm(self, endpoint: str, *results: Result, number: int = 1) -> None:
        told = results or (Result(PredictionId("p1"), True, "accepted"),)
        request = AxonConfirmRequested(ConnectionId(-number), MINER, endpoint, told, synapse.stats_form(None))
        self.decide(request)

    async def outcomes(self, count: int = 1) -> list[AxonAnswered | AxonConfirmed | AxonFailed]:
        """The first outcomes of exchanges."""
        kinds = (AxonAnswered, AxonConfirmed, AxonFailed, EdgeFailed)
        async with asyncio.timeout(PATIENCE):
            while len(found := [event for event in self.heard if isinstance(event, kinds)]) < count:
                self._news.clear()
                await self._news.wait()
        assert not any(isinstance(event, EdgeFailed) for event in found), found
        return found  # type: ignore[return-value]

    async def failure(self) -> AxonFailed:
        (outcome,) = await self.outcomes()
        assert isinstance(outcome, AxonFailed), outcome
        assert outcome.hotkey == MINER
        return outcome

    def _hear(self, event: Event, _: Envelope) -> None:
        self.heard.append(event)
        self._news.set()


@asynccontextmanager
async def benched(**settings: Any) -> AsyncIterator[Bench]:
    """A bench whose edge is closed at the end."""
    bench = Bench(**settings)
    yield bench
    await bench.edge.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with benched() as bench:
        yield bench


# --- what is sent


async def test_a_question_is_a_dendrites(bench: Bench) -> None:
    miner = ExistingMiner("Bob")
    game = make_game(event_start_date=rfc3339_from_now(3600))
    bench.offer(game)
    bench.decide(MetagraphSynced((NeuronInfo(Uid(3), ME), NeuronInfo(Uid(5), MINER))))
    async with serving(miner.serve) as endpoint:
        host, port = endpoint.split(":")
        for number in (1, 2):
            bench.ask(endpoint, number)
        outcomes = await bench.outcomes(2)
    assert [type(outcome) for outcome in outcomes] == [AxonAnswered] * 2
    assert [name for name, _ in miner.heads[0]] == HEADERS
    head = dict(miner.heads[0])
    assert head["Accept-Encoding"] == "identity"
    assert (head["Host"], head["bt_header_axon_ip"], head["bt_header_axon_port"]) == (endpoint, host, port)
    assert (head["timeout"], head["bt_header_dendrite_version"]) == ("5.0", "10005000")
    assert head["bt_header_dendrite_ip"] == "203.0.113.9"
    nonce, uuid = head["bt_header_dendrite_nonce"], head["bt_header_dendrite_uuid"]
    text = f"{nonce}.{ME}.{MINER}.{uuid}.{head['computed_body_hash']}"
    assert KEYPAIR.verify(text.encode(), bytes.fromhex(head["bt_header_dendrite_signature"].removeprefix("0x")))
    heads = [dict(head) for head in miner.heads]
    assert len({head["bt_header_dendrite_uuid"] for head in heads}) == 1
    assert int(heads[0]["bt_header_dendrite_nonce"]) != int(heads[1]["bt_header_dendrite_nonce"])
    body = miner.queries[0]
    assert body["dendrite"]["hotkey"] == ME
    assert body["dendrite"]["signature"] == head["bt_header_dendrite_signature"]
    assert body["axon"] == body["axon"] | {"hotkey": MINER, "ip": host, "port": int(port)}
    assert body["metadata"]["neuron_uid"] == "3"
    assert body["metadata"]["synapse_type"] == body["synapse_type"] == "game_data"
    assert body["gamedata_dict"][game.game_id]["tie_odds"] == 0.0
    assert parse_rfc3339(body["gamedata_dict"][game.game_id]["event_start_date"]) == parse_rfc3339(
        game.event_start_date
    )


async def test_nonces_grow_even_if_the_clock_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "wall", lambda _: Micros(1_780_000_000_000_000))
    miner = ExistingMiner("Bob")
    async with benched() as bench, serving(miner.serve) as endpoint:
        for number in (1, 2, 3):
            bench.ask(endpoint, number)
        await bench.outcomes(3)
    nonces = sorted(int(dict(head)["bt_header_dendrite_nonce"]) for head in miner.heads)
    assert nonces == [1_780_000_000_000_000_000 + more for more in (0, 1, 2)]


async def test_games_that_have_started_or_left_the_slate_are_not_asked_about(bench: Bench) -> None:
    miner = ExistingMiner("Bob")
    soon, begun = rfc3339_from_now(3600), rfc3339_from_now(-1)
    bench.offer(
        *(make_game(name, event_start_date=soon) for name in ("a", "b")), make_game("c", event_start_date=begun)
    )
    bench.offer(make_game("b", event_start_date=soon, active=False), snapshot=False)
    bench.offer(make_game("d", event_start_date="soon"), snapshot=False)
    async with serving(miner.serve) as endpoint:
        bench.ask(endpoint)
        await bench.outcomes()
    assert list(miner.queries[0]["gamedata_dict"]) == ["a"]


async def test_a_confirmation_has_the_verdicts_and_the_figures(bench: Bench) -> None:
    miner = ExistingMiner("Bob")
    async with serving(miner.serve) as endpoint:
        bench.confirm(endpoint, Result(PredictionId("p1"), False, "invalid_wager: no"))
        assert await bench.outcomes() == [AxonConfirmed(ConnectionId(-1), MINER)]
    (confirmation,) = miner.confirmations
    assert confirmation["p1"] == {"success": "False", "message": "invalid_wager: no"}
    assert len(confirmation["miner_stats"]) == 16


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    miner = ExistingMiner("Bob")
    async with recording_proxy(monkeypatch) as asked, benched() as bench, serving(miner.serve) as endpoint:
        bench.ask(endpoint)
        assert isinstance((await bench.outcomes())[0], AxonAnswered)
    assert asked == []


# --- what comes back


async def test_an_answer_is_read_and_says_nothing_of_whose_it_is(bench: Bench) -> None:
    other = ExistingMiner("Charlie")
    answer = packed(
        forms(2) | {"x": 5},
        axon={"hotkey": other.hotkey},
        dendrite={"hotkey": other.hotkey},
        metadata={"synapse_type": "prediction", "neuron_uid": "9"},
    )
    headers = b"bt_header_axon_hotkey: " + other.hotkey.encode(), b"bt_header_axon_status_code: 500"
    async with serving(saying(answer, *headers)) as endpoint:
        bench.ask(endpoint)
        (answered,) = await bench.outcomes()
    assert isinstance(answered, AxonAnswered)
    assert (answered.connection, answered.hotkey) == (-1, MINER)
    assert [prediction.prediction_id for prediction in answered.predictions] == ["p0", "p1"]
    assert [entry.key for entry in answered.left_out] == ["x"]


REDIRECTS = (b"301 Moved", b"302 Found", b"307 Temporary Redirect", b"308 Permanent Redirect")
GZIP = b"content-encoding: gzip"


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (hang, "no answer within 0.3 s"),
        (drip, "no answer within 0.3 s"),
        (drip_head, "no answer within 0.3 s"),
        (pour_hints, "preliminary ones without end"),
        (pour, "an answer of more than 100000 bytes"),
        (saying(b" " * 20_000_000), "an answer of more than 100000 bytes"),
        (pour_headers, ""),
        (crumble, "an answer in far too many parts"),
        (leave, ""),
        (speak_otherwise, ""),
        (saying(packed(forms(1)), more=5), "peer closed connection"),
        (saying(packed(forms(1)), more=-5), "not JSON"),
        (saying(gzip.compress(packed(forms(1))), GZIP), "the answer is compressed"),
        (saying(gzip.compress(bytes(10_000_000)), GZIP), "the answer is compressed"),
        (saying(gzip.compress(packed(forms(1)))), "not JSON"),
        (saying(b"<html>"), "not JSON"),
        (saying(b""), "not JSON"),
        (saying(b"\xff\xfe"), "not JSON"),
        (saying(b"[" * 90_000), "not JSON"),
        (saying(b'{"a":' * 15_000 + b"1" + b"}" * 15_000), "not JSON"),
        (saying(b'{"a":' * 40 + b"1" + b"}" * 40), "nested deeper"),
        (saying(b"[]"), "the body must be a JSON object"),
        (saying(b"null"), "the body must be a JSON object"),
        (saying(b"{}"), "metadata must be an object"),
        (saying(packed({}, "game_data")), "metadata.synapse_type must be prediction"),
        (saying(packed([])), "prediction_dict must be an object"),
        (saying(packed({f"p{number}": 1 for number in range(51)})), "51 predictions; at most 50 are read"),
    ],
)
async def test_an_answer_that_is_none(serve: Serve, reason: str) -> None:
    async with benched(timeout=0.3, max_answer_bytes=100_000, max_predictions=50) as bench, serving(serve) as endpoint:
        bench.ask(endpoint)
        failed = await bench.failure()
        assert reason in failed.reason
        assert failed.reason.startswith(endpoint)
        assert failed.reason != f"{endpoint}: "
        assert (failed.status, failed.reason.isprintable()) == (None, True)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, b'{"message": "Not Verified with error: Nonce is too old"}', "Not Verified with error: Nonce is too old"),
        (403, b'{"message": "Forbidden. Key is blacklisted:\\n\\u001b[31m no permit"}', "no permit"),
        (422, b'{"detail": [{"type": "json_invalid"}]}', '[{"type":"json_invalid"}]'),
        (405, b'{"detail": "Method Not Allowed"}', "Method Not Allowed"),
        (500, b'{"message": {"a": 1}}', '{"a":1}'),
        (500, b'{"message": "' + b"x" * 10_000 + b'"}', "x" * 300),
        (500, b'{"message": null}', ""),
        (500, b"[]", ""),
        (500, b"Internal Server Error", ""),
        (500, b" " * 1_000_000, ""),
        (204, b"", ""),
    ],
)
async def test_a_refusal_has_its_status_and_the_miners_words(
    bench: Bench, status: int, body: bytes, reason: str
) -> None:
    async with serving(saying(body, status=b"%d No" % status)) as endpoint:
        bench.ask(endpoint)
        failed = await bench.failure()
    assert failed.status == status
    assert failed.reason.startswith(f"{endpoint}: {status}")
    assert failed.reason.endswith(reason)
    assert len(failed.reason) < 400
    assert failed.reason.isprintable()


@pytest.mark.parametrize("status", REDIRECTS)
async def test_a_redirect_is_not_followed_and_no_cookie_is_kept(bench: Bench, status: bytes) -> None:
    elsewhere = ExistingMiner("Charlie")
    async with serving(elsewhere.serve) as other:
        location = f"location: http://{other}/GameData".encode()
        async with serving(saying(b"", location, b"set-cookie: a=b; path=/", status=status)) as endpoint:
            bench.ask(endpoint)
            failed = await bench.failure()
    assert failed.reason == f"{endpoint}: {status[:3].decode()} a redirect, which is not followed"
    assert failed.status == int(status[:3])
    assert elsewhere.heads == []


async def test_cookies_are_not_sent_back(bench: Bench) -> None:
    heads: list[list[tuple[str, str]]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader, heads)
        body = packed({})
        writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async with serving(serve) as endpoint:
        for number in (1, 2):
            bench.ask(endpoint, number)
            await bench.outcomes(number)
    assert [[name for name, _ in head] for head in heads] == [HEADERS] * 2


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"])
async def test_where_nobody_listens(bench: Bench, endpoint: str) -> None:
    bench.ask(endpoint)
    failed = await bench.failure()
    assert failed.status is None
    assert failed.reason.startswith(f"{endpoint}: ")


@pytest.mark.parametrize("endpoint", ["nowhere", "1.2.3.4:99999", "[:80", "a b:80", "x@y:80"])
async def test_an_endpoint_that_is_none(bench: Bench, endpoint: str) -> None:
    bench.ask(endpoint)
    assert (await bench.failure()).reason.startswith(f"{endpoint}: ")


@pytest.mark.parametrize("address", ["::1", "::ffff:127.0.0.1"])
async def test_ipv6_endpoints(bench: Bench, address: str) -> None:
    miner = ExistingMiner("Bob")

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await miner.serve(reader, writer)
        writer.close()

    try:
        server = await asyncio.start_server(take, "::1" if address == "::1" else "127.0.0.1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with server:
        port = server.sockets[0].getsockname()[1]
        bench.ask(f"[{address}]:{port}")
        (outcome,) = await bench.outcomes()
    assert isinstance(outcome, AxonAnswered), outcome
    assert dict(miner.heads[0])["bt_header_axon_ip"] == address
    assert dict(miner.heads[0])["Host"] == f"[{address}]:{port}"


async def test_a_confirmation_that_is_not_taken(bench: Bench) -> None:
    async with serving(saying(b'{"message": "KeyError"}', status=b"500 No")) as endpoint:
        bench.confirm(endpoint)
        failed = await bench.failure()
    assert (failed.status, failed.reason) == (500, f"{endpoint}: 500 KeyError")


async def test_an_answer_that_was_confirmed_whole_is_not_told_again(bench: Bench) -> None:
    """Existing miners repeat up to 100 predictions each time: every event log would be full of them."""
    miner = ExistingMiner("Bob")
    miner.predict(wager=2.0)
    first, second = (Result(PredictionId(name), True, "accepted") for name in miner.predictions)
    told: list[tuple[int, int]] = []
    async with serving(miner.serve) as endpoint:

        async def round_of(number: int, *results: Result) -> None:
            bench.ask(endpoint, number)
            answered = (await bench.outcomes(2 * number - 1))[-1]
            assert isinstance(answered, AxonAnswered)
            told.append((len(answered.predictions), answered.repeated))
            bench.confirm(endpoint, *results, number=number)
            await bench.outcomes(2 * number)

        await round_of(1, first)  # the other one got no verdict
        await round_of(2, first, second)
        await round_of(3, first, second)  # nothing says that the actor must not confirm anew
        miner.predict(wager=3.0)
        await round_of(4, first, second)
        bench.decide(MetagraphSynced((NeuronInfo(Uid(0), ME),)))  # it has left the subnet
        await round_of(5, first, second, first)
    assert told == [(2, 0), (2, 0), (0, 2), (3, 0), (3, 0)]
    assert len(bench.edge._told) == 1  # noqa: SLF001


async def test_an_answer_whose_confirmation_was_lost_is_told_again(bench: Bench) -> None:
    (name,) = predictions = forms(1)
    async with serving(saying(packed(predictions))) as endpoint, serving(saying(b"", status=b"500 No")) as deaf:
        bench.ask(endpoint)
        await bench.outcomes()
        bench.confirm(deaf, Result(PredictionId(name), True, "accepted"))
        await bench.outcomes(2)
        bench.ask(endpoint, 2)
        answered = (await bench.outcomes(3))[-1]
    assert isinstance(answered, AxonAnswered)
    assert (len(answered.predictions), answered.repeated) == (1, 0)


async def test_an_endless_answer_to_a_confirmation_is_left(bench: Bench) -> None:
    async with serving(pour) as endpoint:
        bench.confirm(endpoint)
        assert await bench.outcomes() == [AxonConfirmed(ConnectionId(-1), MINER)]


async def test_few_large_answers_are_in_memory_at_a_time_and_small_ones_do_not_wait_for_them() -> None:
    begun: list[int] = []
    ends = asyncio.Event()
    body = packed({}, padding="x" * 3 * LARGE)

    async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        begun.append(1)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body[:-1])
        await ends.wait()
        writer.write(body[-1:])

    async with benched(timeout=20.0) as bench, serving(large) as endpoint, serving(saying(packed(forms(1)))) as small:
        for number in range(1, MAX_LARGE + 3):
            bench.ask(endpoint, number)
        async with asyncio.timeout(PATIENCE):
            while len(begun) < MAX_LARGE + 2 or bench.edge._large._value:  # noqa: ASYNC110, SLF001 - no event says so
                await asyncio.sleep(0.01)
        bench.ask(small, 100)
        (first,) = await bench.outcomes()
        assert first.connection == -100
        ends.set()
        outcomes = await bench.outcomes(MAX_LARGE + 3)
    assert {type(outcome) for outcome in outcomes} == {AxonAnswered}


# --- the end


async def test_an_exchange_that_is_to_be_closed_is_over(bench: Bench) -> None:
    bench.decide(CloseRequested(ConnectionId(-3), 4000, "a bug"))
    bench.decide(CloseRequested(ConnectionId(3), 4000, "a session"))
    assert [event for event in bench.heard if isinstance(event, ConnectionClosed)] == [
        ConnectionClosed(ConnectionId(-3), 4000, "a bug")
    ]


async def test_questions_end_at_once_when_the_validator_stops_and_confirmations_have_a_moment() -> None:
    confirmed = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await confirmed.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with benched(timeout=600.0) as bench, serving(hang) as silent, serving(slow) as endpoint:
        bench.ask(silent, 2)
        bench.confirm(endpoint)
        await asyncio.sleep(0.05)
        await bench.edge.pause()
        asyncio.get_running_loop().call_later(0.05, confirmed.set)
        await bench.edge.settle()
        assert await bench.outcomes() == [AxonConfirmed(ConnectionId(-1), MINER)]


async def test_hanging_confirmations_do_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FAREWELL < 10
    monkeypatch.setattr("bettensor.neurons.edges.dendrite.FAREWELL", 0.05)
    async with benched(timeout=600.0) as bench, serving(hang) as silent:
        bench.confirm(silent)
        async with asyncio.timeout(PATIENCE):
            await bench.edge.settle()
            await bench.edge.close()
        assert not any(isinstance(event, AxonConfirmed | AxonFailed) for event in bench.heard)
