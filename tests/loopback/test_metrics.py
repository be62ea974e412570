"""What Prometheus sees, read by its own client."""

import asyncio
import json
import urllib.request
from pathlib import Path

import httpx
import yaml
from bittensor_core import Keypair
from prometheus_client.parser import text_string_to_metric_families

from bettensor.actors.existing import LATELY
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import Clock, ManualClock, SystemClock
from bettensor.bus.events import (
    AxonAnswered,
    AxonConfirmed,
    AxonFailed,
    ConnectionClosed,
    FallbackChosen,
    FeedFailed,
    LineLogged,
    MetricsUnavailable,
    OddsDoubted,
    PostAnswered,
    PredictionMade,
    QueryAdmitted,
    QueryAnswered,
    QueryRefused,
    QueryUnreadable,
    SessionActivated,
    VerdictReceived,
)
from bettensor.bus.identifiers import ConnectionId, Micros, SessionId, Uid
from bettensor.neurons.cli.control_client import ask
from bettensor.neurons.config.settings import MetricsSettings
from bettensor.neurons.edges.edge import Identity
from bettensor.neurons.edges.keys import Keys
from bettensor.neurons.edges.metrics import Metrics
from bettensor.neurons.edges.writer import FrameWriter
from bettensor.neurons.neuron import Neuron
from tests.loopback.rig import ALICE, running_miner, running_validator, starting_soon
from tests.loopback.test_miner import events, register_miner, until
from tests.support import NOW, Injected, make_hotkey, make_identity, make_prediction

SERVED = {"port": 0}


async def scrape(neuron: Neuron) -> dict[tuple[str, tuple[str, ...]], float]:
    """Name and label values of every sample, with its value."""
    assert neuron.metrics is not None
    url = f"http://127.0.0.1:{neuron.metrics.port}/metrics"
    page = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read().decode())
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def test_a_validator_and_a_miner_are_measured(tmp_path: Path) -> None:
    registered = register_miner(tmp_path)
    silent = {"predictor": {"edge": 0.0}}
    validator = running_validator(tmp_path, **registered, metrics=SERVED)
    async with validator as rig, running_miner(rig, actors=silent, metrics=SERVED) as (miner, theirs):
        await until(lambda: miner.bus.counts["games_updated"])
        for wager in (1.0, 1.0, -1.0):
            miner.bus.publish(PredictionMade(rig.hotkey, make_prediction(wager=wager)))
        await until(lambda: len(events(theirs, VerdictReceived)) == 3)
        judged, told = await scrape(rig.validator), await scrape(miner)
    for samples in (judged, told):
        assert samples["bettensor_verdicts_total", ("accepted",)] == 2
        assert samples["bettensor_verdicts_total", ("invalid_wager",)] == 1
        assert samples["bettensor_verdict_latency_seconds_count", ()] == 3
        assert 0 < samples["bettensor_verdict_latency_seconds_sum", ()] < 3
        assert samples["bettensor_connections", ("active",)] == 1
        assert samples["bettensor_connections", ("greeting",)] == 0
        assert samples["bettensor_frames_total", ("in", "websocket")] >= 2
        assert samples["bettensor_frame_bytes_total", ("out", "websocket")] > 1000
        assert samples["bettensor_bus_events_total", ("session_activated",)] == 1
        assert samples["bettensor_send_queue_bytes", ()] == 0
        assert samples["bettensor_clock_steps_total", ()] == 0
        assert samples["bettensor_games_offset", (rig.hotkey,)] == 1
        assert samples["process_resident_memory_bytes", ()] > 0
    assert judged["bettensor_commit_seconds_count", ()] >= 1
    assert told["bettensor_predictions_waiting", ()] == 0


async def test_what_goes_wrong_is_counted(tmp_path: Path) -> None:
    registered = register_miner(tmp_path)
    validator = running_validator(tmp_path, **registered, metrics=SERVED)
    async with validator as rig, running_miner(rig, metrics=SERVED, websocket={"enabled": False}) as (miner, theirs):
        await rig.refusal({})
        await until(lambda: events(theirs, FallbackChosen))
        await until(lambda: miner.bus.counts["games_updated"])
        judged, told = await scrape(rig.validator), await scrape(miner)
    assert judged["bettensor_refusals_total", ("malformed",)] == 1
    assert told["bettensor_fallbacks_total", ("disabled",)] == 1
    assert told["bettensor_frames_total", ("in", "http")] >= 2


async def test_wrong_games_and_rows_are_counted_until_they_are_repaired(tmp_path: Path) -> None:
    games = tmp_path / "games.json"
    odds = starting_soon(game_id="american", team_a_odds=120, team_b_odds=105)
    started = starting_soon(game_id="old") | {"event_start_date": "P0D"}
    wrong = json.dumps([starting_soon(), odds, started, 7, None])
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump({"hotkeys": ["5x"]}))
    async with running_validator(tmp_path, metrics=SERVED, blacklist="wrong.yaml") as rig:
        await asyncio.sleep(0.2)  # the watch has begun
        games.write_text(wrong)
        await rig.until(OddsDoubted)
        samples = await scrape(rig.validator)
        assert samples["bettensor_games_withheld", ("entry",)] == 2
        assert samples["bettensor_games_withheld", ("odds",)] == 1
        assert samples["bettensor_games_unreadable", ()] == 0
        assert samples["bettensor_skipped_rows", ("blacklist",)] == 1
        games.write_text("[")
        await rig.until(FeedFailed)
        assert (await scrape(rig.validator))["bettensor_games_unreadable", ()] == 1
        games.write_text(json.dumps([starting_soon()]))
        await rig.until(OddsDoubted, 2)
        samples = await scrape(rig.validator)
        assert samples["bettensor_games_withheld", ("entry",)] == samples["bettensor_games_withheld", ("odds",)] == 0
        assert samples["bettensor_games_unreadable", ()] == 0


async def test_a_port_that_is_taken_is_said_and_the_neuron_does_without(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with running_validator(tmp_path / "a", metrics=SERVED) as first:
        assert first.validator.metrics is not None
        taken = {"port": first.validator.metrics.port}
        async with running_validator(tmp_path / "b", metrics=taken) as second, second.client() as client:
            await client.works()
            (unavailable,) = second.all(MetricsUnavailable)
            assert "Address already in use" in unavailable.reason
            assert any("correct metrics.ip or metrics.port" in line.text for line in second.all(LineLogged))


async def test_their_port_has_limits_too_and_says_what_it_has_not(tmp_path: Path) -> None:
    async with running_validator(tmp_path, metrics=SERVED) as rig, httpx.AsyncClient(trust_env=False) as client:
        assert rig.validator.metrics is not None
        url = f"http://127.0.0.1:{rig.validator.metrics.port}"
        assert (await client.get(f"{url}/other")).status_code == 404
        assert (await client.post(f"{url}/metrics")).status_code == 405
        assert (await client.post(f"{url}/metrics", content=b"x")).status_code == 413
        assert (await client.get(f"{url}/metrics", headers={"a": "x" * 17_000})).status_code == 431
        exposition = {"accept": "application/openmetrics-text; version=1.0.0"}
        answer = await client.get(f"{url}/metrics", headers=exposition)
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        lines = [await asyncio.open_connection("127.0.0.1", rig.validator.metrics.port) for _ in range(40)]
        assert await lines[0][0].read() == b""  # more than 32 at a time: the first one has left
        assert (await scrape(rig.validator))["bettensor_connections", ("active",)] == 0
        for _, writer in lines:
            writer.close()


async def test_they_can_be_switched_off(tmp_path: Path) -> None:
    async with running_validator(tmp_path, metrics={"enabled": False}) as rig:
        assert rig.validator.metrics is None


def metrics_of(identity: Identity, clock: Clock) -> tuple[Metrics, EventBus]:
    """The metrics of a neuron without its other parts, on a bus that takes decisions of actors too."""
    bus = EventBus(clock)
    bus.subscribe(Injected, lambda event, _: bus.publish(event.decision), "test")
    metrics = Metrics(
        MetricsSettings(port=0), identity, FrameWriter(Keys(Keypair.create_from_uri("//Alice")), clock), clock
    )
    metrics.attach(bus)
    return metrics, bus


def roads(metrics: Metrics) -> list[float | None]:
    sample = metrics.registry.get_sample_value
    return [sample("bettensor_peers", {"road": road}) for road in ("websocket", "http", "synapse")]


ONE, OTHER, QUERY = make_hotkey("one"), make_hotkey("other"), ConnectionId(1 << 40)


def test_a_miner_counts_its_peers_by_road_and_what_existing_validators_asked() -> None:
    clock = ManualClock(NOW)
    metrics, bus = metrics_of(make_identity(role="miner"), clock)
    assert roads(metrics) == [0, 0, 0]
    for event in (QueryAdmitted(QUERY, ONE), QueryAdmitted(QUERY, OTHER), QueryAnswered(QUERY, ONE, None)):
        bus.publish(Injected(event))
    bus.publish(Injected(QueryRefused(QUERY, 403, "no permit", "1.2.3.4")))
    bus.publish(QueryUnreadable(QUERY, ONE, 400, "not JSON"))
    bus.publish(Injected(QueryRefused(QUERY, 400, "not JSON", "1.2.3.4", ONE)))  # by which an unreadable body ends
    assert roads(metrics) == [0, 0, 2]
    exchanges = {
        status: metrics.registry.get_sample_value("bettensor_synapse_exchanges_total", {"status": status})
        for status in ("200", "400", "403")
    }
    assert exchanges == {"200": 1, "400": 1, "403": 1}
    bus.publish(PostAnswered(ConnectionId(-1), OTHER))
    assert roads(metrics) == [0, 1, 1]
    bus.publish(Injected(SessionActivated(ConnectionId(7), OTHER, Uid(1), SessionId(""))))
    assert roads(metrics) == [1, 0, 1]
    bus.publish(ConnectionClosed(ConnectionId(7), 1006, ""))
    assert roads(metrics) == [0, 0, 1]
    clock.advance(Micros(LATELY + 1))
    assert roads(metrics) == [0, 0, 0]
    bus.publish(Injected(QueryAdmitted(QUERY, OTHER)))
    assert roads(metrics) == [0, 0, 1]


def test_a_validator_counts_what_existing_miners_answer_and_any_status_is_one_of_few_labels() -> None:
    metrics, bus = metrics_of(make_identity(), ManualClock(NOW))
    connection = ConnectionId(-1)
    bus.publish(AxonAnswered(connection, ONE, ()))
    bus.publish(AxonConfirmed(connection, ONE))
    for status in (None, 403, 777, 10**9):
        bus.publish(AxonFailed(connection, OTHER, "", status))
    sample = metrics.registry.get_sample_value
    statuses = ("200", "none", "403", "other")
    assert [sample("bettensor_synapse_exchanges_total", {"status": s}) for s in statuses] == [2, 1, 1, 2]
    assert roads(metrics) == [0, 0, 1]


async def test_an_existing_neuron_that_asks_a_validator_is_no_failed_request(tmp_path: Path) -> None:
    headers = {"name": "GameData", "timeout": "12.0", "bt_header_dendrite_hotkey": ALICE.ss58_address}
    headers |= {"bt_header_dendrite_signature": "0x00", "computed_body_hash": "a7ff"}
    async with running_validator(tmp_path, metrics=SERVED) as rig, httpx.AsyncClient(trust_env=False) as client:
        for path in ("GameData", "Synapse"):
            answer = await client.post(f"http://{rig.address}/{path}", json={"name": path}, headers=headers)
            assert (answer.status_code, list(answer.json())) == (404, ["message"])
            assert answer.headers["content-type"] == "application/json"
        samples = await scrape(rig.validator)
        state = str(rig.validator.settings.state_dir)
        status = await asyncio.to_thread(ask, Path(state), {"ask": "status"})
    assert samples["bettensor_synapse_turned_away_total", ()] == 2
    assert [sample for sample in samples if sample[0] == "bettensor_refusals_total"] == []
    (peer,) = [peer for peer in status["peers"] if peer["hotkey"] == ALICE.ss58_address]
    assert (peer["state"], peer["trouble"]) == ("speaks Synapse", "")
    told = [line.level for line in rig.all(LineLogged) if "over Synapse" in line.text]
    assert told == ["INFO", "DEBUG"]


async def test_their_end_does_not_hold_up_the_neuron() -> None:
    writer = FrameWriter(Keys(Keypair.create_from_uri("//Alice")), SystemClock())
    metrics = Metrics(MetricsSettings(port=0), make_identity(), writer, SystemClock())
    metrics.attach(EventBus(SystemClock()))
    await metrics.open()
    closing = asyncio.ensure_future(metrics.close())
    turns = 0
    while not closing.done():
        await asyncio.sleep(0)
        turns += 1
    await closing
    assert turns > 5  # of the event loop
