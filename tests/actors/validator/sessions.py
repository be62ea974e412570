"""A validator's connections and admissions together, as they must be shown: neither opens a session alone."""

from hashlib import sha256
from typing import Any, Final

from bettensor.actors.validator.auth import ValidatorAuthActor, ValidatorAuthSettings
from bettensor.actors.validator.connection import ValidatorConnectionActor, ValidatorConnectionSettings
from bettensor.bus.codes import RefusalCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ConnectionOpened,
    HttpAnswered,
    HttpRequestReceived,
    LedgerOpened,
    MessageAccepted,
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
    PeerAuthenticated,
    PeerRefused,
    RequestBodyReceived,
)
from bettensor.bus.identifiers import ConnectionId, Epoch, Hotkey, LedgerId, Uid
from bettensor.bus.messages import HeartbeatMessage
from bettensor.neurons.simulation import SimulatedKeys, SimulatedVerifier
from tests.support import NETUID, Harness, as_json, make_hex32, make_hotkey, make_identity

EPOCH = Epoch("e" * 32)
VALIDATOR, MINER, OTHER = make_hotkey("validator"), make_hotkey(), make_hotkey("other")


EVERYBODY: Final = tuple(NeuronInfo(Uid(i), hotkey) for i, hotkey in enumerate((VALIDATOR, MINER, OTHER)))


class Bench(Harness):
    def __init__(
        self,
        auth: dict[str, Any] | None = None,
        connection: dict[str, Any] | None = None,
        neurons: tuple[NeuronInfo, ...] | None = EVERYBODY,
    ) -> None:
        """``neurons``: the metagraph; None if it has not been read yet."""
        self.connection = ValidatorConnectionActor(ValidatorConnectionSettings(**(connection or {})))
        self.auth = ValidatorAuthActor(ValidatorAuthSettings(**(auth or {})))
        super().__init__(self.connection, self.auth)
        self.keys = SimulatedKeys(make_identity(VALIDATOR))
        self.add(self.keys)
        self.add(SimulatedVerifier())
        self.body = b""
        """Of the last request."""
        self.bus.subscribe(PeerAuthenticated, self._hand_over_body, "test")
        self.ids = iter(range(1, 1_000_000))
        self.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0))
        if neurons is not None:
            self.observe(MetagraphSynced(neurons))
        self.observe(LedgerOpened(LedgerId("1" * 32), ()))

    def request(self, hotkey: Hotkey = MINER, target: str = "/ws?netuid=30", **changes: Any) -> ConnectionId:
        connection = ConnectionId(next(self.ids))
        nonce = changes.pop("nonce", self.clock.wall() * 1000 + connection)
        headers = {
            "x-bittensor-version": "1",
            "x-bittensor-hotkey": hotkey,
            "x-bittensor-receiver": VALIDATOR,
            "x-bittensor-nonce": str(nonce),
            "x-bittensor-signature": "0x" + "00" * 64,
            "sec-websocket-protocol": "bettensor.v1",
        } | {f"x-bittensor-{name}": value for name, value in changes.pop("named", {}).items()}
        headers |= changes.pop("headers", {})
        facts: dict[str, Any] = {
            "method": "GET" if "/predictions" not in target else "POST",
            "remote": "10.0.0.1",
            "upgrade": target.startswith("/ws?"),
            "salt": make_hex32(),
        }
        if "of_0_1_0" in changes:
            changes["body"] = changes.pop("of_0_1_0")
        else:
            self.body = changes.pop("body", b"")
        facts |= {"digest": sha256(self.body).hexdigest(), "size": len(self.body)}
        self.observe(
            HttpRequestReceived(connection, target=target, headers=tuple(headers.items()), **(facts | changes))
        )
        return connection

    def _hand_over_body(self, event: PeerAuthenticated, _: Envelope) -> None:
        """As the listener does."""
        if event.purpose == "predictions":
            self.bus.publish(RequestBodyReceived(event.connection, self.body))

    def open(self, hotkey: Hotkey = MINER, **changes: Any) -> ConnectionId:
        """A session that has been welcomed and activated."""
        connection = self.request(hotkey, **changes)
        self.observe(ConnectionOpened(connection, hotkey, "1"))
        self.say(connection, hotkey)
        return connection

    def say(self, connection: ConnectionId, hotkey: Hotkey = MINER) -> None:
        """A verified heartbeat comes."""
        self.observe(MessageAccepted(connection, hotkey, HeartbeatMessage()))

    def refusals(self) -> list[RefusalCode]:
        return [refused.code for refused in self.all(PeerRefused)]

    def health(self) -> tuple[int, dict[str, Any]]:
        self.request(target="/ws/health")
        answer = self.last(HttpAnswered)
        return answer.status, as_json(answer.body)
