"""The address of a peer behind a real proxy: budgets, limits and logs are about him, and not about the proxy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from bettensor.bus.events import HttpRequestReceived, PeerRefused
from tests.loopback.processes import free_port
from tests.loopback.proxies import haproxy, needs_haproxy, needs_nginx, nginx
from tests.loopback.rig import ALICE, EVE, Rig, running_validator

STRANGER, MINER = "127.0.0.2", "127.0.0.3"
"""Where they dial from: all of 127.0.0.0/8 is this machine."""
SPOOFED: Final = {"X-Forwarded-For": "203.0.113.9"}
OF_HAPROXY: Final = """
defaults
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 330s
listen validator
    mode {mode}
    {option}
    bind 127.0.0.1:{port}
    server local {address} {sends}
"""
OF_NGINX: Final = """
location / {{
    proxy_pass http://{address};
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
}}
"""
WAYS = pytest.mark.parametrize(
    "way",
    [
        pytest.param("nginx", marks=needs_nginx),
        pytest.param("haproxy", marks=needs_haproxy),
        pytest.param("haproxy with the PROXY protocol", marks=needs_haproxy),
    ],
)


def behind(way: str, **more: Any) -> dict[str, Any]:
    """The configuration of a validator behind a proxy of this machine."""
    axon = {"ip": "127.0.0.1", "port": 0, "trusted_proxies": ["127.0.0.1"], "proxy_protocol": "PROXY" in way}
    return {"axon": axon | more}


@asynccontextmanager
async def proxied(way: str, folder: Path, rig: Rig) -> AsyncIterator[None]:
    """Miners find the validator at a proxy."""
    address = rig.address
    if way == "nginx":
        async with nginx(folder / "proxy", OF_NGINX.format(address=address)) as rig.elsewhere:
            yield
        return
    rig.elsewhere = port = free_port()
    mode, option, sends = ("tcp", "", "send-proxy-v2") if "PROXY" in way else ("http", "option forwardfor", "")
    text = OF_HAPROXY.format(mode=mode, option=option, sends=sends, address=address, port=port)
    async with haproxy(folder / "proxy", port, text):
        yield


def from_address(address: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, transport=httpx.AsyncHTTPTransport(local_address=address))


@WAYS
async def test_the_peer_is_whom_the_proxy_names_and_not_whom_he_names(tmp_path: Path, way: str) -> None:
    async with running_validator(tmp_path, **behind(way)) as rig, proxied(way, tmp_path, rig):
        async with from_address(STRANGER) as client:
            answer = await client.get(f"http://{rig.address}{rig.target('/games')}", headers=SPOOFED)
            assert answer.status_code == 400  # nobody has signed it
        (asked,) = rig.all(HttpRequestReceived)
        assert asked.remote == STRANGER
        assert [refused.remote for refused in rig.all(PeerRefused)] == [STRANGER]
        async with await rig.dial(rig.sign() | SPOOFED, local_addr=(MINER, 0)):
            assert rig.all(HttpRequestReceived)[-1].remote == MINER


@WAYS
async def test_a_stranger_behind_the_proxy_uses_up_his_own_budget_alone(tmp_path: Path, way: str) -> None:
    async with running_validator(tmp_path, **behind(way)) as rig, proxied(way, tmp_path, rig):
        async with from_address(STRANGER) as client:
            told = set()
            for number in range(400):
                signed = rig.sign(EVE, path=rig.target("/games")) | {"X-Bittensor-Nonce": str(number)}
                told.add((await client.get(f"http://{rig.address}{rig.target('/games')}", headers=signed)).status_code)
            assert 429 in told
        async with from_address(MINER) as client:
            signed = rig.sign(ALICE, path=rig.target("/games"))
            assert (await client.get(f"http://{rig.address}{rig.target('/games')}", headers=signed)).status_code == 200
        async with await rig.dial(local_addr=(MINER, 0)):
            pass


@pytest.mark.parametrize("trusted", [[], ["10.0.0.0/8", "::1"]])
async def test_who_is_no_trusted_proxy_is_who_he_is(tmp_path: Path, trusted: list[str]) -> None:
    async with running_validator(tmp_path, **behind("", trusted_proxies=trusted)) as rig:
        async with from_address(STRANGER) as client:
            await client.get(f"http://{rig.address}{rig.target('/games')}", headers=SPOOFED)
        assert [asked.remote for asked in rig.all(HttpRequestReceived)] == [STRANGER]


async def test_several_peers_on_one_connection_of_a_proxy(tmp_path: Path) -> None:
    async with running_validator(tmp_path, **behind("")) as rig, from_address("127.0.0.1") as client:
        for peer in ("203.0.113.7", "2001:db8::7", "203.0.113.7"):
            await client.get(f"http://{rig.address}{rig.target('/games')}", headers={"X-Forwarded-For": peer})
        assert [asked.remote for asked in rig.all(HttpRequestReceived)] == ["203.0.113.7", "2001:db8::7", "203.0.113.7"]
