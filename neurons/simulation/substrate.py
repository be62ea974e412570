"""A chain in memory, behind bittensor's real client: ``bittensor.Client("local", substrate=SimulatedSubstrate())``."""

import asyncio
import ipaddress
from typing import Any

from bus.events import Neuron


class SimulatedSubstrate:
    """One subnet of a chain, which can be down, silent, stuck or wrong. See ``bittensor``'s protocol ``Substrate``."""

    def __init__(self, netuid: int = 30) -> None:
        self.netuid = netuid
        self.block = 1
        self.neurons: list[Neuron] = []
        self.down: str | None = None
        """Why nobody can connect, while it is set."""
        self.silent = False
        """Half-open: nothing is answered any more."""
        self.connections = 0
        """How many there have been."""
        self.readings = 0
        """How often the metagraph was read."""
        self.token_symbols: dict[int, str] = {}

    def balance(self, rao: int, netuid: int = 0) -> Any:
        """As ``Substrate`` has it."""
        from bittensor.balance import Balance

        return Balance.from_rao(rao, netuid, self.token_symbols.get(netuid))

    async def connect(self) -> None:
        """Fails where the chain is down."""
        await self._answer()
        self.connections += 1

    async def close(self) -> None:
        """Nothing to close."""

    async def _answer(self) -> None:
        if self.silent:
            await asyncio.Event().wait()
        if self.down is not None:
            raise ConnectionError(self.down)

    async def block_number(self) -> int:
        """The newest."""
        await self._answer()
        return self.block

    async def block_hash(self, block: int | None = None) -> str:
        """Of any block."""
        await self._answer()
        return f"0x{self.block if block is None else block:064x}"

    async def query_map(self, *_: Any, **__: Any) -> list[Any]:
        """Nothing is stored."""
        await self._answer()
        return []

    async def runtime_call(self, api: str, method: str, params: list[Any], **_: Any) -> Any:
        """``get_metagraph``; None for another subnet."""
        await self._answer()
        if (api, method) != ("SubnetInfoRuntimeApi", "get_metagraph"):
            raise NotImplementedError(f"{api}.{method}")
        self.readings += 1
        return self._metagraph() if params == [self.netuid] else None

    def _metagraph(self) -> dict[str, Any]:
        rows = self.neurons
        owner = {"owner_hotkey": "", "owner_coldkey": "", "network_registered_at": 0}
        steps = {"tempo": 360, "last_step": 0, "blocks_since_last_step": 0}
        columns = {
            "hotkeys": [row.hotkey for row in rows],
            "coldkeys": [row.coldkey for row in rows],
            "validator_permit": [row.validator_permit for row in rows],
            "total_stake": [round(row.stake * 1e9) for row in rows],
            "axons": [_axon(row.axon) for row in rows],
        }
        return {"netuid": self.netuid, "block": self.block} | owner | steps | columns


def _axon(endpoint: str | None) -> dict[str, int]:
    if endpoint is None:
        return {"ip": 0, "port": 0, "ip_type": 4}
    host, _, port = endpoint.rpartition(":")
    address = ipaddress.ip_address(host.strip("[]"))
    return {"ip": int(address), "port": int(port), "ip_type": address.version}
