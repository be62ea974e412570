"""``fallback``: predictions by ``POST /predictions``, each request with its own signature."""

import asyncio
import time
from typing import Final

from bettensor.neurons.bench.figures import Figures, latencies_ms
from bettensor.neurons.bench.load import Poster
from bettensor.neurons.bench.rig import BenchValidator, running_validator

ROUND: Final = 2.0
"""Seconds of a round: a signature is valid for ten, including the time to sign the round's other requests."""
REQUESTS_PER_SECOND: Final = 4_000
"""Requests to sign beforehand for each second, more than a validator can answer."""


def fallback(clients: int, batch: int, duration: float) -> Figures:
    """Confirmed predictions per second, and the latency of a request."""
    with running_validator(clients) as validator:
        return asyncio.run(_post(validator, batch, duration))


async def _post(validator: BenchValidator, batch: int, duration: float) -> Figures:
    loop = asyncio.get_running_loop()
    seconds = cpu = 0.0
    everybody: list[Poster] = []
    for _ in range(max(1, round(duration / ROUND))):
        posters = []
        for keypair in validator.keypairs:
            _, poster = await loop.create_connection(
                lambda keypair=keypair: Poster(keypair, validator.hotkey),  # type: ignore[misc]
                "127.0.0.1",
                validator.port,
            )
            poster.sign_beforehand(int(REQUESTS_PER_SECOND * min(ROUND, duration) / len(validator.keypairs)) + 1, batch)
            posters.append(poster)
        used, begin = validator.cpu_seconds(), time.perf_counter()
        for poster in posters:
            poster.pushing = True
            poster.push()
        await asyncio.wait([poster.done for poster in posters], timeout=min(ROUND, duration))
        for poster in posters:
            poster.pushing = False
        await asyncio.gather(*(poster.done for poster in posters))
        seconds += time.perf_counter() - begin
        cpu += validator.cpu_seconds() - used
        for poster in posters:
            poster.transport.close()
        everybody += posters
    confirmed = sum(poster.results for poster in everybody)
    latencies = [latency for poster in everybody for latency in poster.latencies]
    return {
        "predictions_per_second": confirmed / seconds,
        "requests_per_second": len(latencies) / seconds,
        "rejected": sum(poster.rejected for poster in everybody),
        "failed": sum(len(poster.failed) for poster in everybody),
        "answers": sorted({fault for poster in everybody for fault in poster.failed}),
        "latency_ms": latencies_ms(latencies),
        "cpu_us_per_prediction": 1e6 * cpu / confirmed,
    }
