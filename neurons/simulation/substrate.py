"""A chain in memory, behind bittensor's real client: ``bittensor.Client("local", substrate=SimulatedSubstrate())``."""

import asyncio
import ipaddress
from dataclasses import replace
from typing import Any

from bettensor.bus.events import NeuronInfo


class SimulatedSubstrate:
    """Simulates one subnet of a chain, which can be down, silent, stuck or wrong. See bittensor's ``Substrate``."""

    def __init__(self, netuid: int = 30) -> None:
        self.netuid = netuid
        self.block = 1
        self.neurons: list[NeuronInfo] = []
        self.now: int | None = None
        """The time of the newest block, in milliseconds since 1970."""
        self.down: str | None = None
        """While set, connections fail for this reason."""
        self.silent = False
        """Half-open: no request is answered any more."""
        self.connections = 0
        """Number of connections so far."""
        self.readings = 0
        """Number of readings of the metagraph."""
        self.submitted: list[Any] = []
        """The submitted calls, in order."""
        self.refusal: str | None = None
        """While set, calls fail for this reason."""
        self.token_symbols: dict[int, str] = {}

    def balance(self, rao: int, netuid: int = 0) -> Any:
        """An amount in bittensor's type, as ``Substrate`` returns it."""
        from bittensor.balance import Balance

        return Balance.from_rao(rao, netuid, self.token_symbols.get(netuid))

    async def connect(self) -> None:
        """Fails if the chain is down."""
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
        """The number of the newest block."""
        await self._answer()
        return self.block

    async def block_hash(self, block: int | None = None) -> str:
        """The hash of any block."""
        await self._answer()
        return f"0x{self.block if block is None else block:064x}"

    async def query_map(self, *_: Any, **__: Any) -> list[Any]:
        """Empty: nothing is stored."""
        await self._answer()
        return []

    async def block_time(self) -> float:
        """Seconds between two blocks."""
        return 12.0

    async def query(self, pallet: str, item: str, *_: Any, **__: Any) -> Any:
        """``Timestamp.Now`` in milliseconds; nothing else is stored."""
        await self._answer()
        return self.now if (pallet, item) == ("Timestamp", "Now") else None

    async def compose(self, call: Any) -> Any:
        """The call, unchanged."""
        await self._answer()
        return call

    async def estimate_fee(self, *_: Any) -> Any:
        """The same fee for each call."""
        await self._answer()
        return self.balance(1_000_000)

    async def submit(self, call: Any, keypair: Any, **_: Any) -> Any:
        """Execute ``serve_axon`` of a registered neuron; refused while ``refusal`` is set."""
        from bittensor.result import ExtrinsicResult

        await self._answer()
        self.submitted.append(call)
        if self.refusal is not None:
            return ExtrinsicResult(success=False, message=self.refusal)
        params = call.params
        address = ipaddress.ip_address(params["ip"])
        host = f"[{address}]" if address.version == 6 else str(address)
        endpoint = f"{host}:{params['port']}"
        self.neurons = [
            replace(row, axon=endpoint) if row.hotkey == keypair.ss58_address else row for row in self.neurons
        ]
        return ExtrinsicResult(success=True, message="Success")

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
