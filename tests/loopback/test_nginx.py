"""Neurons behind the real nginx, configured as docs/operating.md says, and not."""

import re
from pathlib import Path
from typing import Final

from tests.loopback.proxies import needs_nginx, nginx
from tests.loopback.rig import Rig
from tests.loopback.test_documents import ROOT, blocks
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
