"""How predictions are pushed: as many as the load says, and not without the verdict of each."""

import asyncio
from itertools import count
from typing import Any

import pytest
from bittensor_core import CRYPTO_SR25519, Keypair

from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.bench import confirm
from bettensor.neurons.bench.confirm import Load, Pushed, push, sign_beforehand
from bettensor.neurons.bench.load import LoadPredictor
from bettensor.neurons.bench.rig import BenchmarkFailed
from tests.neurons.bench.test_load import Wire, confirmation

KEYPAIR = Keypair.create_from_uri("//Miner0", CRYPTO_SR25519)


class Validator:
    """In the place of the process: it uses a second of CPU whenever it is asked."""

    def __init__(self) -> None:
        self._seconds = count()

    def cpu_seconds(self) -> float:
        return next(self._seconds)


class Answering(Wire):
    """Confirms each frame soon after it was written."""

    def __init__(self, miner: LoadPredictor, rejected: int = 0) -> None:
        super().__init__()
        self._miner = miner
        self._rejected = rejected

    def write(self, data: Any) -> None:
        super().write(data)
        asyncio.get_running_loop().call_soon(self._miner.hear, confirmation(self._miner.batch, self._rejected))


def miners(load: Load, rejected: int = 0) -> list[LoadPredictor]:
    """As many as ``load`` says, whose frames are all confirmed."""
    everybody = [LoadPredictor(KEYPAIR, Hotkey("validator")) for _ in range(load.miners)]
    for miner in everybody:
        miner.transport = Answering(miner, rejected)
    return everybody


async def test_a_closed_loop_pushes_until_nothing_is_left_that_was_signed() -> None:
    load = Load(miners=1, window=2, batch=3, duration=30.0)
    (miner,) = everybody = miners(load, rejected=1)
    miner.sign_beforehand(5, load.batch)
    pushed = await push(Validator(), everybody, load)  # type: ignore[arg-type]
    assert (pushed.frames, pushed.confirmed, pushed.rejected, pushed.cpu_seconds) == (5, 15, 5, 1)
    assert len(pushed.latencies) == 5


async def test_an_open_loop_offers_its_rate_whatever_comes_back() -> None:
    load = Load(miners=2, rate=1000.0, batch=2, duration=0.1)
    everybody = miners(load)
    sign_beforehand(everybody, load)
    pushed = await push(Validator(), everybody, load)  # type: ignore[arg-type]
    assert 40 <= pushed.frames <= 50
    assert pushed.confirmed == 2 * pushed.frames


@pytest.mark.parametrize(
    ("load", "frames"),
    [
        (Load(miners=2, rate=100.0, duration=2.0, window=1), 101),
        (Load(miners=2, rate=100.0, batch=10, duration=2.0, window=1), 11),
        (Load(miners=200, duration=0.5, window=4), 34),
        (Load(miners=200, batch=10, duration=0.5, window=4), 14),
    ],
)
async def test_as_much_is_signed_as_could_be_pushed(load: Load, frames: int) -> None:
    miner = LoadPredictor(KEYPAIR, Hotkey("validator"))
    sign_beforehand([miner] * load.miners if load.miners == 1 else [miner, *[_Idle()] * (load.miners - 1)], load)  # type: ignore[list-item]
    assert len(miner.frames) == frames


class _Idle:
    """A miner that signs nothing."""

    def sign_beforehand(self, frames: int, batch: int) -> None: ...


async def test_without_a_push_nothing_was_measured() -> None:
    load = Load(miners=1, rate=1.0, duration=0.01)
    with pytest.raises(BenchmarkFailed, match="not one prediction was pushed"):
        await push(Validator(), miners(load), load)  # type: ignore[arg-type]


async def test_a_miner_whose_session_has_ended_fails_the_run() -> None:
    load = Load(miners=1, window=1, duration=0.01)
    (miner,) = everybody = miners(load)
    miner.transport = Wire()  # nobody answers
    miner.sign_beforehand(1, 1)
    miner.fault = "the connection has ended"
    with pytest.raises(BenchmarkFailed, match="the connection has ended"):
        await push(Validator(), everybody, load)  # type: ignore[arg-type]


async def test_a_verdict_that_does_not_come_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirm, "DRAIN_TIMEOUT", 0.01)
    load = Load(miners=1, window=2, duration=0.01)
    (miner,) = everybody = miners(load)
    miner.transport = Wire()
    miner.sign_beforehand(2, 1)
    with pytest.raises(BenchmarkFailed, match="2 frames have no verdict"):
        await push(Validator(), everybody, load)  # type: ignore[arg-type]


def test_tls_is_measured_beside_plain_in_turn_and_its_cost_is_the_cpu_of_one_prediction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[bool] = []

    def push(load: Load) -> Pushed:
        turns.append(load.tls)
        cpu = 1.1 if load.tls else 1.0
        return Pushed(confirmed=10_000, seconds=2.0, cpu_seconds=cpu, latencies=[0.004 if load.tls else 0.003] * 10)

    monkeypatch.setattr(confirm, "_push_of", push)
    figures = confirm.confirm(Load(tls=True))
    assert turns == [False, True, True, False] * 2
    assert figures["cost"] == pytest.approx(0.1)
    assert figures["cpu_us_per_prediction"] == {"plain": pytest.approx(100), "tls": pytest.approx(110)}
    assert figures["predictions_per_second"] == {"plain": 5000, "tls": 5000}
    assert figures["latency_ms"]["tls"]["p50"] == pytest.approx(4)
