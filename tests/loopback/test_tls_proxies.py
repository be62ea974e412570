"""TLS that ends in a real proxy, configured as examples/ says: the validator names the proxy's key."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from bettensor.actors.settings import WebSocketSettings
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CertificateDoubted,
    ConnectionOpened,
    DialRequested,
    PostRequested,
    Tls,
    TlsLearned,
    VerdictReceived,
)
from bettensor.neurons.edges import tls
from tests.loopback.processes import free_port
from tests.loopback.proxies import haproxy, needs_haproxy, needs_nginx, nginx_of
from tests.loopback.rig import Place, Rig, running_miner, running_validator
from tests.loopback.test_miner import BETS, events, register_miner, until
from tests.neurons.edges.certificates import Pair, make_pair

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
FILES: Final = {"nginx": "nginx/nginx.conf", "haproxy": "haproxy/haproxy.cfg"}
"""By program, below examples/."""
PROGRAMS = pytest.mark.parametrize(
    "program", [pytest.param("nginx", marks=needs_nginx), pytest.param("haproxy", marks=needs_haproxy)]
)


def text_of(program: str) -> str:
    """The file of examples/ for a program."""
    return (EXAMPLES / FILES[program]).read_text()


@asynccontextmanager
async def proxy(program: str, folder: Path, rig: Rig, own: Pair) -> AsyncIterator[Place]:
    """The endpoint that miners find, while the program ends TLS there with the file of examples/."""
    port = free_port()
    text = text_of(program)
    places = {"/etc/bettensor/proxy.pem": str(own.pem), "/etc/bettensor/proxy.key": str(own.key)}
    places |= {"/etc/bettensor/proxy.both": str(folder / "proxy.both"), "127.0.0.1:8091": rig.address}
    places |= {"listen 443": f"listen 127.0.0.1:{port}", "bind :443": f"bind 127.0.0.1:{port}"}
    for of_the_file, here in places.items():
        text = text.replace(of_the_file, here)
    (folder / "proxy.both").write_bytes(own.pem.read_bytes() + own.key.read_bytes())
    made = nginx_of if program == "nginx" else haproxy
    async with made(folder / program, port, text):
        yield Place(rig.folder, rig.hotkey, f"127.0.0.1:{port}")


def behind(proxys: Pair | None) -> dict[str, Any]:
    """The section ``axon`` of a validator behind a proxy, whose key it names, or does not."""
    axon: dict[str, Any] = {"ip": "127.0.0.1", "port": 0, "trusted_proxies": ["127.0.0.1"]}
    return {"axon": axon if proxys is None else axon | {"tls": {"proxy_key": str(proxys.pem)}}}


@PROGRAMS
@pytest.mark.parametrize("websocket", [True, False])
async def test_a_miner_finds_the_proxy_by_itself_and_trusts_it_because_the_validator_signs_for_its_key(
    tmp_path: Path, program: str, websocket: bool
) -> None:
    registered, own = register_miner(tmp_path), make_pair(tmp_path, "proxy")
    async with (
        running_validator(tmp_path, **registered, **behind(own)) as rig,
        proxy(program, tmp_path, rig, own) as place,
        running_miner(place, actors=BETS, websocket={"enabled": websocket}) as (_, theirs),
    ):
        await until(lambda: len(events(theirs, VerdictReceived)) >= 3)
        assert {opened.tls_key for opened in events(theirs, ConnectionOpened)} == {own.digest}
        if websocket:
            assert [dial.tls for dial in events(theirs, DialRequested)] == [None, Tls()]
        else:
            assert {post.tls for post in events(theirs, PostRequested)} == {Tls(own.digest)}


@PROGRAMS
@pytest.mark.parametrize("vouched", [True, False])
async def test_a_proxy_whose_key_the_validator_does_not_name_needs_an_authority(
    tmp_path: Path, program: str, vouched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_pair(tmp_path, "authority", is_authority=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))
    tls.vouching_context.cache_clear()
    registered = register_miner(tmp_path)
    own = make_pair(tmp_path, "proxy", hosts=("127.0.0.1",), authority=authority if vouched else None)
    async with (
        running_validator(tmp_path, **registered, **behind(None)) as rig,
        proxy(program, tmp_path, rig, own) as place,
        running_miner(place, actors=BETS, tls={"mode": "required"}) as (_, theirs),
    ):
        if vouched:
            await until(lambda: events(theirs, VerdictReceived))
            assert events(theirs, TlsLearned) == [TlsLearned(rig.hotkey, Tls(roots=True))]
        else:
            (doubted,) = await until_doubted(theirs)
            assert doubted.reason.startswith("no welcome and no authority vouches for the certificate")
            assert events(theirs, VerdictReceived) == []
    tls.vouching_context.cache_clear()


async def until_doubted(envelopes: list[Envelope]) -> list[CertificateDoubted]:
    await until(lambda: events(envelopes, CertificateDoubted))
    return events(envelopes, CertificateDoubted)[:1]


@pytest.mark.parametrize("program", FILES)
def test_the_proxys_patience_is_longer_than_the_validators(program: str) -> None:
    text = text_of(program)
    waits = [
        int(found) for found in re.findall(r"(?:proxy_read_timeout|proxy_send_timeout|timeout tunnel) (\d+)s", text)
    ]
    assert waits
    assert min(waits) > WebSocketSettings().connection_timeout
