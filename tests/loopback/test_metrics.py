"""What Prometheus sees, read by its own client."""

import asyncio
import json
import urllib.request
from pathlib import Path

import yaml
from bittensor_core import Keypair
from prometheus_client.parser import text_string_to_metric_families

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.events import (
    FallbackChosen,
    FeedFailed,
    LineLogged,
    MetricsUnavailable,
    OddsDoubted,
    PredictionMade,
    VerdictReceived,
)
from bettensor.neurons.config.settings import MetricsSettings
from bettensor.neurons.edges.keys import Keys
from bettensor.neurons.edges.metrics import Metrics
from bettensor.neurons.edges.writer import FrameWriter
from bettensor.neurons.neuron import Neuron
from tests.loopback.rig import running_miner, running_validator, starting_soon
from tests.loopback.test_miner import events, register_miner, until
from tests.support import make_identity, make_prediction

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


async def test_they_can_be_switched_off(tmp_path: Path) -> None:
    async with running_validator(tmp_path, metrics={"enabled": False}) as rig:
        assert rig.validator.metrics is None


async def test_their_end_does_not_hold_up_the_neuron() -> None:
    writer = FrameWriter(Keys(Keypair.create_from_uri("//Alice")), SystemClock())
    metrics = Metrics(MetricsSettings(port=0), make_identity(), writer)
    metrics.attach(EventBus(SystemClock()))
    await metrics.open()
    closing = asyncio.ensure_future(metrics.close())
    turns = 0
    while not closing.done():
        await asyncio.sleep(0)
        turns += 1
    await closing
    assert turns > 5  # of the event loop; prometheus_client takes up to half a second
