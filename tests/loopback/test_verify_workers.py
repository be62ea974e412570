"""``auth.verify_workers``: a session notices nothing of it. Recorded and decided again, as all runs on loopback are."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from bettensor.bus.codes import CloseCode
from bettensor.bus.events import LineLogged, PredictionAccepted, SignatureChecked, VerificationRequested
from bettensor.bus.messages import HeartbeatMessage, PredictionMessage
from bettensor.neurons.edges.verifiers import Verifiers, Worker
from tests.loopback.rig import ALICE, EVE, PATIENCE, Client, Rig, running_validator
from tests.loopback.test_pressure import answers
from tests.support import make_prediction

WORKERS = {"verify_workers": 2}


def frames(client: Client, count: int) -> tuple[list[str], list[str]]:
    """Signed frames with a prediction each, and the ids."""
    made = [make_prediction(wager=0.01) for _ in range(count)]
    return [client.frame(PredictionMessage(predictions=(one,))) for one in made], [one.prediction_id for one in made]


async def ready(rig: Rig) -> list[Worker]:
    """The workers, once they can be asked."""
    workers = rig.validator.edges[Verifiers]._workers  # noqa: SLF001 - there is no event for it
    async with asyncio.timeout(PATIENCE):
        while not all(worker.is_ready for worker in workers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return workers


async def test_verdicts_come_in_order_even_if_a_worker_dies(tmp_path: Path) -> None:
    async with running_validator(tmp_path, auth=WORKERS) as rig, rig.client() as client:
        await client.works()
        worker = (await ready(rig))[0]
        process = worker._transport.get_pid()  # noqa: SLF001
        said, ids = frames(client, 300)
        for number, frame in enumerate(said):
            await client.socket.send(frame)
            if number == 150:
                os.kill(process, signal.SIGKILL)
        codes = await answers(client, 300)
        assert list(codes) == ids
        assert set(codes.values()) == {"accepted"}
        (line,) = [line for line in rig.all(LineLogged) if "signature verifier" in line.text]
        assert line.level == "WARNING"
        assert "ended with exit code -9; nothing is lost, another starts" in line.text


async def test_nothing_counts_that_came_after_a_false_signature(tmp_path: Path) -> None:
    async with running_validator(tmp_path, auth=WORKERS) as rig, rig.client() as client:
        await ready(rig)
        before, ids = frames(client, 40)
        false = client.frame(HeartbeatMessage(), EVE)
        after, _ = frames(client, 40)
        with contextlib.suppress(ConnectionClosed):
            for frame in [*before, false, *after]:
                await client.socket.send(frame)
        code, reason, _ = await client.closed()
        assert (code, reason) == (CloseCode.BAD_SIGNATURE, f"the frame is not signed by {ALICE.ss58_address}")
    assert [event.prediction.prediction_id for event in rig.all(PredictionAccepted)] == ids


async def test_what_was_taken_when_it_stops_is_answered(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as session:
        async with running_validator(tmp_path, auth=WORKERS) as rig:
            client = await session.enter_async_context(rig.client())
            await ready(rig)
            said, _ = frames(client, 200)
            for frame in said:
                await client.socket.send(frame)
            await rig.until(VerificationRequested, 2)
        code, _, heard = await client.closed()
    assert code == CloseCode.RESTARTING
    results = [result["code"] for message in heard for result in message.get("results", [])]
    asked = {envelope.seq for envelope in rig.envelopes if isinstance(envelope.event, VerificationRequested)}
    assert asked <= {event.request for event in rig.all(SignatureChecked)}
    assert results == ["accepted"] * (len(asked) - 1)  # but for the session's first heartbeat
