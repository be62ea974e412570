"""What this machine allows: the cost of signatures alone, and clients of the bare stack that time their own frames."""

import os
import time

import bittensor_core
import pytest
from bittensor_core import CRYPTO_SR25519, Keypair

from bettensor.bus import codec
from bettensor.neurons.bench import yardsticks
from bettensor.neurons.bench.bare import BROADCAST_BYTES
from bettensor.neurons.bench.load import text_frame
from bettensor.neurons.bench.yardsticks import Audience, Echoed, SignatureLimit, a_frame
from tests.neurons.bench.test_load import Wire
from tests.support import as_json

KEYPAIR = Keypair.create_from_uri("//Miner0", CRYPTO_SR25519)


def test_the_frame_that_is_echoed_is_one_of_a_prediction_and_truly_signed() -> None:
    payload, signature = codec.split(a_frame(KEYPAIR))
    assert [prediction["team_a"] for prediction in as_json(payload)["predictions"]] == ["Home"]
    signed = codec.SIGNED_PREFIX + payload
    assert bittensor_core.verify(signed, signature, KEYPAIR.ss58_address, CRYPTO_SR25519)


def test_the_limit_is_the_median_of_all_rounds_and_the_process_may_run_anywhere_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(yardsticks, "ROUNDS", 2)
    monkeypatch.setattr(yardsticks, "PAIRS", 2)
    limit, cores = SignatureLimit(KEYPAIR), os.sched_getaffinity(0)
    limit.measure()
    limit.measure()
    assert os.sched_getaffinity(0) == cores
    assert 100 < limit.per_second < 1e6  # of one verification and one signature, on any machine


async def test_an_echo_is_timed_from_its_own_push_and_followed_by_the_next() -> None:
    client, wire = Echoed(text_frame(b"hello")), Wire()
    client.connection_made(wire)
    client.pushing = True
    client.push()
    client.receive(b"hello")
    assert (len(client.latencies), wire.written[1:]) == (1, [client.payload] * 2)
    client.pushing = False
    client.receive(b"hello")
    assert (len(client.latencies), len(wire.written)) == (2, 3)
    assert all(latency >= 0 for latency in client.latencies)


async def test_a_broadcast_is_timed_from_when_it_was_made() -> None:
    client = Audience()
    client.receive(f"{time.time() - 2:.9f} ".ljust(BROADCAST_BYTES, "x").encode())
    assert client.latencies == [pytest.approx(2, abs=0.5)]
