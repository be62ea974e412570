"""Several workers of one hotkey behind a real proxy, configured as examples/ says: each miner stays with one."""

import asyncio
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import httpx
from bittensor_core import CRYPTO_SR25519, Keypair
from websockets.exceptions import InvalidStatus

from bettensor.bus.codes import CloseCode
from bettensor.bus.events import HttpRequestReceived
from tests.loopback.processes import NeuronProcess, free_port
from tests.loopback.proxies import HaProxy, haproxy, needs_haproxy, nginx_of
from tests.loopback.rig import ALICE, PATIENCE, Rig, running_validator, write_configuration
from tests.loopback.test_tls_proxies import PROGRAMS, text_of

MINERS: Final = [Keypair.create_from_uri(f"//miner {number}", CRYPTO_SR25519) for number in range(24)]
BEHIND: Final = {"ip": "127.0.0.1", "trusted_proxies": ["127.0.0.1"]}


def front(program: str, port: int, workers: dict[int, int]) -> str:
    """The file of examples/ without TLS, for workers by number, at these ports."""
    text = text_of(program)
    if program == "nginx":
        text = re.sub(r"    ssl_.*\n", "", text).replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
        return _with_servers(text, [f"    server 127.0.0.1:{worker};" for worker in workers.values()])
    text = re.sub(r"bind :443 .*", f"bind 127.0.0.1:{port}", text)
    lines = [f"    server worker-{number} 127.0.0.1:{worker} id {number}" for number, worker in workers.items()]
    return _with_servers(text, lines)


def _with_servers(text: str, lines: list[str]) -> str:
    """The text with other lines in place of its servers, the one that is commented out included."""
    first, second = re.findall(r"^    (?:# )?server .*127.*$", text, re.MULTILINE)
    return text.replace(first, "\n".join(lines)).replace(second, "")


class Workers:
    """Validators with one wallet, each with a state of its own, in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rigs: list[Rig] = []
        self.port = free_port()
        """Of the proxy."""
        self._stacks: list[AsyncExitStack] = []

    async def start(self) -> None:
        """One more."""
        stack, folder = AsyncExitStack(), _folder_of(self.folder, len(self.rigs) + 1)
        rig = await stack.enter_async_context(running_validator(folder, axon=BEHIND | {"port": 0}))
        rig.elsewhere = self.port
        self._stacks.append(stack)
        self.rigs.append(rig)

    async def stop(self, worker: int) -> None:
        await self._stacks[worker - 1].aclose()

    async def stop_all(self) -> None:
        for stack in self._stacks:
            await stack.aclose()

    def ports(self, *numbers: int) -> dict[int, int]:
        chosen = numbers or range(1, len(self.rigs) + 1)
        return {number: self.rigs[number - 1].validator.port or 0 for number in chosen}

    def seen(self, claimed: tuple[str, str]) -> list[int]:
        """How many requests with this header each worker has got; the proxy's own checks have none."""
        return [sum(claimed in asked.headers for asked in rig.all(HttpRequestReceived)) for rig in self.rigs]

    async def worker_of(self, keypair: Keypair, way: str = "GET") -> int:
        """The number of the worker that a miner reaches."""
        claimed, rig = ("x-bittensor-hotkey", keypair.ss58_address), self.rigs[0]
        before = self.seen(claimed)
        if way == "session":
            with suppress(InvalidStatus):
                await (await rig.dial(rig.sign(keypair))).close()
        else:
            target = rig.target("/games" if way == "GET" else "/predictions")
            signed = rig.sign(keypair, method=way, path=target)
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.request(way, f"http://{rig.address}{target}", headers=signed)
        (worker,) = (
            n for n, (old, new) in enumerate(zip(before, self.seen(claimed), strict=True), start=1) if new > old
        )
        return worker

    async def shares(self) -> dict[str, int]:
        return {keypair.ss58_address: await self.worker_of(keypair) for keypair in MINERS}


def _folder_of(folder: Path, number: int) -> Path:
    own, first = folder / str(number), folder / "1"
    own.mkdir()
    if own != first:
        shutil.copytree(first / "wallets", own / "wallets")
        shutil.copy(first / "hotkey", own / "hotkey")
    return own


@asynccontextmanager
async def serving(folder: Path, count: int) -> AsyncIterator[Workers]:
    workers = Workers(folder)
    try:
        for _ in range(count):
            await workers.start()
        yield workers
    finally:
        await workers.stop_all()


@asynccontextmanager
async def proxy(program: str, workers: Workers, *numbers: int) -> AsyncIterator[HaProxy | None]:
    text, folder = front(program, workers.port, workers.ports(*numbers)), workers.folder / f"{program}{len(numbers)}"
    if program == "nginx":
        async with nginx_of(folder, workers.port, text):
            yield None
    else:
        async with haproxy(folder, workers.port, text) as running:
            yield running


@PROGRAMS
async def test_each_miner_stays_with_one_worker_whatever_it_asks(tmp_path: Path, program: str) -> None:
    async with serving(tmp_path, 3) as workers, proxy(program, workers):
        shares = await workers.shares()
        assert set(shares.values()) == {1, 2, 3}
        for keypair in MINERS[:12]:
            for way in ("session", "POST"):
                assert await workers.worker_of(keypair, way) == shares[keypair.ss58_address]


@PROGRAMS
async def test_of_a_worker_that_is_new_or_lost_only_its_share_moves(tmp_path: Path, program: str) -> None:
    async with serving(tmp_path, 3) as workers:
        async with proxy(program, workers, 1, 2):
            of_two = await workers.shares()
        async with proxy(program, workers):
            of_three = await workers.shares()
            assert {of_three[miner] for miner in of_two if of_three[miner] != of_two[miner]} == {3}
            await workers.stop(3)
            assert await _settled(workers) == of_two


async def _settled(workers: Workers) -> dict[str, int]:
    """The shares when each miner reaches a worker again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(ValueError):  # nobody was reached
                return await workers.shares()
            await asyncio.sleep(0.1)


@needs_haproxy
async def test_a_reload_of_the_proxy_ends_no_session(tmp_path: Path) -> None:
    async with serving(tmp_path, 2) as workers, proxy("haproxy", workers, 1) as running:
        assert running is not None
        async with workers.rigs[0].client(ALICE) as client:
            running.reload(front("haproxy", workers.port, workers.ports(2)))
            async with asyncio.timeout(PATIENCE):
                while await workers.worker_of(MINERS[0]) != 2:  # noqa: ASYNC110 - the proxy tells nobody
                    await asyncio.sleep(0.05)
            await client.works()


@needs_haproxy
async def test_the_miners_of_a_frozen_worker_are_free_and_find_another_one(tmp_path: Path) -> None:
    """With the validator alone they would be held until ``websocket.connection_timeout``, 300 s."""
    ports, port = {1: free_port(), 2: free_port()}, free_port()
    processes = []
    try:
        for number, own in ports.items():
            config = write_configuration(_folder_of(tmp_path, number), axon=BEHIND | {"port": own})
            processes.append(NeuronProcess("validator", config, config.with_name("log")))
        async with haproxy(tmp_path / "haproxy", port, front("haproxy", port, ports)):
            hotkey: Any = SimpleNamespace(hotkey=(tmp_path / "1" / "hotkey").read_text(), port=port)
            rig = Rig(tmp_path, hotkey)
            await _reached(rig)
            async with rig.client(ALICE) as client:
                processes[_with_session(tmp_path) - 1].send_signal(signal.SIGSTOP)
                assert (await client.closed())[0] == CloseCode.ABNORMAL
            await _reached(rig)
            async with rig.client(ALICE) as client:
                await client.works()
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _with_session(folder: Path) -> int:
    """The number of the worker whose log tells of a session."""
    (log,) = [log for log in folder.glob("?/log") if "connection established" in log.read_text()]
    return int(log.parent.name)


async def _reached(rig: Rig) -> None:
    """Wait until some worker answers."""
    async with asyncio.timeout(4 * PATIENCE), httpx.AsyncClient(trust_env=False) as client:
        while True:
            with suppress(httpx.TransportError):
                if (await client.get(f"http://{rig.address}/ws/health")).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.1)
