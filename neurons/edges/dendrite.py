"""The validator's questions to existing miners: requests as a Dendrite of bittensor 10 makes them.

A miner may answer anything, or not at all: each exchange has its deadline and its limit of bytes, redirects are not
followed, and what is compressed is not unpacked.
"""

import asyncio
from contextlib import AsyncExitStack
from hashlib import sha256
from http import HTTPStatus
from typing import Final, NamedTuple
from uuid import uuid4

import msgspec

from bettensor.actors.settings import AxonSettings, ValidatorSynapseSettings
from bettensor.actors.stream import fold
from bettensor.bus import synapse
from bettensor.bus.addresses import split_endpoint
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BettensorError, Unreadable
from bettensor.bus.events import (
    AxonAnswered,
    AxonConfirmed,
    AxonConfirmRequested,
    AxonFailed,
    AxonQueryRequested,
    CloseRequested,
    ConnectionClosed,
    GamesUpdated,
    MetagraphSynced,
)
from bettensor.bus.games import TeamGame, start_of
from bettensor.bus.identifiers import ConnectionId, GameId, Hotkey, Micros, Uid
from bettensor.bus.synapse import Metadata, Terminal
from bettensor.bus.text import printable
from bettensor.neurons.edges.edge import Edge, QuerySigner, Store, on
from bettensor.neurons.edges.http_exchange import NoAnswer, Reply, connected
from bettensor.neurons.edges.refusals import read_told
from bettensor.neurons.edges.tasks import Tasks

MAX_TOLD: Final = 64 * 1024
"""Bytes that are read of a refusal."""
MAX_REASON: Final = 500
"""Characters of the reason for a failure."""
MAX_LARGE: Final = 4
"""Large answers in memory at a time; the next is read only when one of them is done. Honest ones are not large."""
FAREWELL: Final = 2.0
"""Seconds for the confirmations that are on their way when the validator stops."""
USER_AGENT: Final = "Bettensor"
UNKNOWN: Final = "0.0.0.0"  # noqa: S104 - nothing is bound to it
"""The validator's address in a request, if the operator has not told it; it decides nothing."""

Request = AxonQueryRequested | AxonConfirmRequested


class _Offer(NamedTuple):
    """A game of the open slate, as it is sent."""

    starts_at: Micros
    form: msgspec.Raw


class _Answered(NamedTuple):
    """An answer whose predictions were told."""

    connection: ConnectionId
    digest: bytes
    predictions: int
    """Their number."""


class Dendrite(Edge):
    """Makes the requested exchanges; each request is signed anew."""

    name = "dendrite"

    def __init__(
        self,
        settings: ValidatorSynapseSettings,
        axon: AxonSettings,
        signer: QuerySigner,
        store: Store,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._signer = signer
        self._store = store
        self._clock = clock
        self._ip = axon.external_ip or UNKNOWN
        self._uuid = str(uuid4())
        self._nonce = 0
        self._uid: Uid | None = None
        self._slate: dict[GameId, _Offer] = {}
        self._reading = asyncio.Lock()
        self._answered: dict[Hotkey, _Answered] = {}
        """The last answer of each miner that had news."""
        self._told: dict[Hotkey, bytes] = {}
        """The digest of the last answer of each miner that has taken a verdict on each of its predictions."""
        self._large = asyncio.Semaphore(MAX_LARGE)

    def attach(self, bus: EventBus) -> None:
        """Subscribe every handler."""
        super().attach(bus)
        self._confirmations = Tasks(bus, self.name)

    # --- what is asked about

    @on(GamesUpdated)
    def know_slate(self, event: GamesUpdated, _: Envelope) -> None:
        """Encode each game once, and not for each miner."""
        fold(self._slate, event.games, snapshot=event.snapshot, keep=_offer)

    @on(MetagraphSynced)
    def know_uid(self, event: MetagraphSynced, _: Envelope) -> None:
        """The uid that requests name as their sender's."""
        uids = {neuron.hotkey: neuron.uid for neuron in event.neurons}
        self._uid = uids.get(self._signer.hotkey)
        for gone in [hotkey for hotkey in self._answered if hotkey not in uids]:
            del self._answered[gone]
            self._told.pop(gone, None)

    # --- exchanges

    @on(AxonQueryRequested)
    def query(self, event: AxonQueryRequested, _: Envelope) -> None:
        """Answered by ``AxonAnswered`` or ``AxonFailed``."""
        self._tasks.start(self._exchange(event), f"question to {event.hotkey}")

    @on(AxonConfirmRequested)
    def confirm(self, event: AxonConfirmRequested, _: Envelope) -> None:
        """Answered by ``AxonConfirmed`` or ``AxonFailed``."""
        self._confirmations.start(self._exchange(event), f"confirmation to {event.hotkey}")

    @on(CloseRequested)
    def end(self, event: CloseRequested, _: Envelope) -> None:
        """An exchange of ours has no socket by then: say that it is over."""
        if event.connection < 0:
            self._bus.publish(ConnectionClosed(event.connection, event.code, event.reason))

    async def pause(self) -> None:
        """End the running questions: what would come now has no verdict, and comes again."""
        await self._tasks.cancel()

    async def settle(self) -> None:
        """Wait until the last verdicts are on disk, and a moment for their confirmations."""
        await self._store.settle()
        await self._confirmations.settle(FAREWELL)

    async def close(self) -> None:
        """End all exchanges."""
        await self._tasks.cancel()
        await self._confirmations.cancel()

    async def _exchange(self, event: Request) -> None:
        where, timeout = event.endpoint, self._settings.timeout
        try:
            async with AsyncExitStack() as room:
                async with asyncio.timeout(timeout):
                    content = await self._send(event, room)
                if isinstance(event, AxonConfirmRequested):
                    self._note_told(event)
                    self._bus.publish(AxonConfirmed(event.connection, event.hotkey))
                else:
                    self._bus.publish(await self._read(event, content))
        except TimeoutError:
            self._fail(event, f"{where}: no answer within {timeout:g} s")
        except _Refused as refused:
            self._fail(event, f"{where}: {refused.status} {refused}".rstrip(), refused.status)
        except (NoAnswer, Unreadable, OSError, ValueError) as error:  # ValueError: not an address
            self._fail(event, f"{where}: {error or type(error).__name__}")

    async def _send(self, event: Request, room: AsyncExitStack) -> bytes:
        """The body of the answer; nothing of an answer to a confirmation, whose status says all.

        A large one takes its place in ``room``.

        Raises:
            NoAnswer: there is no answer that can be read.
            OSError: the miner cannot be reached.
            _Refused: its status is another than 200.
        """
        host, port = split_endpoint(event.endpoint)
        async with connected(host, port) as connection:
            reply = await connection.request("POST", synapse.PATH, *self._compose(event, host, port))
            if reply.status != HTTPStatus.OK:
                raise _Refused(reply.status, await _told(reply))
            if isinstance(event, AxonConfirmRequested):
                return b""
            return await reply.read(self._settings.max_answer_bytes, lambda: room.enter_async_context(self._large))

    async def _read(self, event: AxonQueryRequested, content: bytes) -> AxonAnswered:
        """The predictions of an answer, which are read in a thread, one answer after the other: each may be large.

        Raises:
            Unreadable: it is no answer of a miner.
        """
        connection, hotkey = event.connection, event.hotkey
        async with self._reading:
            answer, digest = await asyncio.to_thread(_read_answer, content, self._settings.max_predictions)
        if self._told.get(hotkey) == digest:
            return AxonAnswered(connection, hotkey, (), repeated=len(answer.predictions))
        self._answered[hotkey] = _Answered(connection, digest, len(answer.predictions))
        return AxonAnswered(connection, hotkey, answer.predictions, answer.left_out)

    def _note_told(self, event: AxonConfirmRequested) -> None:
        answered = self._answered.get(event.hotkey)
        if answered is not None and (answered.connection, answered.predictions) == (
            event.connection,
            len(event.results),
        ):
            self._told[event.hotkey] = answered.digest

    def _fail(self, event: Request, reason: str, status: int | None = None) -> None:
        self._bus.publish(AxonFailed(event.connection, event.hotkey, printable(reason)[:MAX_REASON], status))

    # --- requests

    def _compose(self, event: Request, host: str, port: int) -> tuple[list[tuple[str, str]], bytes]:
        """Headers, in a Dendrite's order, and body, signed now."""
        timeout, me = self._settings.timeout, self._signer.hotkey
        now = self._clock.wall()
        self._nonce = max(self._nonce + 1, now * 1000)
        signature = self._signer.sign_query(synapse.signed_text(str(self._nonce), me, event.hotkey, self._uuid))
        dendrite = Terminal(me, self._ip, None, synapse.VERSION, self._nonce, self._uuid, f"0x{signature.hex()}")
        axon = Terminal(event.hotkey, host, port)
        body = self._body(event, dendrite, axon, now)
        headers = [
            ("Host", event.endpoint),
            *synapse.head(timeout, dendrite, axon),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
            ("User-Agent", USER_AGENT),
            ("Content-Length", str(len(body))),
            ("Content-Type", "application/json"),
        ]
        return headers, body

    def _body(self, event: Request, dendrite: Terminal, axon: Terminal, now: Micros) -> bytes:
        kind: synapse.Kind = "game_data" if isinstance(event, AxonQueryRequested) else "confirmation"
        metadata = Metadata(str(uuid4()), self._uid, now, kind)
        timeout = self._settings.timeout
        if isinstance(event, AxonConfirmRequested):
            confirmation = synapse.confirmation_form(event.results, event.stats)
            return synapse.body(timeout, dendrite, axon, metadata, confirmation=confirmation)
        games = {name: offer.form for name, offer in self._slate.items() if offer.starts_at > now}
        return synapse.body(timeout, dendrite, axon, metadata, games=games)


class _Refused(BettensorError):
    """An answer with another status than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _offer(game: TeamGame) -> _Offer:
    return _Offer(start_of(game) or Micros(0), synapse.game_form(game))


def _read_answer(content: bytes, most: int) -> tuple[synapse.Answer, bytes]:
    """An answer, and a digest of all that it says."""
    answer = synapse.read_answer(content, most)
    return answer, sha256(msgspec.json.encode(answer)).digest()


async def _told(reply: Reply) -> str:
    """Why the miner refused, if it says so."""
    if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
        return "a redirect, which is not followed"
    try:
        return read_told(await reply.read(MAX_TOLD))
    except NoAnswer:
        return ""
