"""Neurons behind the real nginx, configured as docs/operating.md says, and not."""

import re
from pathlib import Path
from typing import Final

from bettensor.actors.miner.synapse import DROPPED
from bettensor.bus.events import QueryRefused
from tests.loopback.proxies import needs_nginx, nginx
from tests.loopback.rig import Rig
from tests.loopback.test_documents import ROOT, blocks
from tests.loopback.test_existing_validators import answering_miner, game
from tests.loopback.test_frames import frames, message
from tests.support import make_prediction

pytestmark = needs_nginx
_UPSTREAM: Final = re.compile(r"http://127\.0\.0\.1:\d+")


def of_the_page(upstream: int, about: str) -> str:
    """The directives of the page's block that has the word ``about``, for a neuron at the port ``upstream``."""
    (block,) = (
        block.text
        for block in blocks(ROOT / "docs" / "operating.md")
        if block.language == "nginx" and about in block.text
    )
    return _UPSTREAM.sub(f"http://127.0.0.1:{upstream}", block)


def forwarded(upstream: int) -> str:
    """The least that forwards."""
    return f"location / {{ proxy_pass http://127.0.0.1:{upstream}; }}"


async def answers_http(rig: Rig) -> None:
    answer = await rig.post(message(make_prediction()))
    (result,) = frames(answer.text)[1]["results"]
    assert result["code"] == "accepted"


async def test_a_validator_behind_an_nginx_of_the_page_has_sessions_and_answers_http(rig: Rig, tmp_path: Path) -> None:
    assert rig.validator.port is not None
    async with nginx(tmp_path / "nginx", of_the_page(rig.validator.port, "Upgrade")) as port:
        rig.elsewhere = port
        async with rig.client() as client:
            await client.works()
        await answers_http(rig)


async def test_an_nginx_that_only_forwards_lets_http_pass_and_the_handshake_is_told_why_not(
    rig: Rig, tmp_path: Path
) -> None:
    assert rig.validator.port is not None
    async with nginx(tmp_path / "nginx", forwarded(rig.validator.port)) as port:
        rig.elsewhere = port
        status, refusal = await rig.refusal()
        assert (status, refusal["error"]) == (400, "no_upgrade")
        await answers_http(rig)


async def test_a_miner_behind_an_nginx_of_the_page_answers_existing_validators(tmp_path: Path) -> None:
    async with answering_miner(tmp_path, "1001,New York Yankees,10\n") as running:
        page = of_the_page(running.port, "underscores_in_headers")
        async with nginx(tmp_path / "nginx", page) as running.port:
            dendrite = running.dendrite()
            answer = await dendrite.ask(game())
            ((prediction, _),) = answer.content["prediction_dict"].items()
            assert answer.headers["bt_header_axon_hotkey"] == running.miner.hotkey
            assert (await dendrite.post(dendrite.confirmation_body({prediction: ("True", "")}))).status == 200
            large = dendrite.games_body((game(),), error="x" * 2_000_000)
            assert (await dendrite.post(large)).status == 200


async def test_an_nginx_that_drops_headers_with_underscores_is_named_with_its_cure(tmp_path: Path) -> None:
    async with answering_miner(tmp_path) as running, nginx(tmp_path / "nginx", forwarded(running.port)) as running.port:
        answer = await running.dendrite().ask(game())
        assert answer.status == 400
        assert answer.content["message"] == DROPPED
        assert [refused.message for refused in running.all(QueryRefused)] == [DROPPED]
    assert 'client sent invalid header line: "bt_header_' in (tmp_path / "nginx" / "error.log").read_text()
