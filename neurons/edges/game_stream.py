"""The validator's game stream on disk: each update is signed and stored before it is sent.

So a restarted validator continues its stream, and a miner that was away gets the same signed bytes.
"""

from typing import NamedTuple

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from bettensor.actors.stream import HISTORY
from bettensor.bus import codec
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import StreamOpened, UpdateStored, UpdateStoreFailed, UpdateStoreRequested
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Epoch, Offset
from bettensor.bus.messages import GameUpdateMessage
from bettensor.neurons.edges.database import cause, to_json
from bettensor.neurons.edges.edge import Edge, Identity, on
from bettensor.neurons.edges.ledger import LedgerDatabase
from bettensor.neurons.edges.writer import FrameWriter

_CHANGE_SLATE = (
    text("DELETE FROM slate WHERE game_id IN (SELECT json_extract(value, '$.game_id') FROM json_each(:games))"),
    text(
        "INSERT INTO slate SELECT json_extract(value, '$.game_id'), json(value) FROM json_each(:games) "
        "WHERE json_extract(value, '$.active')"
    ),
)
# constants: SQLAlchemy compiles a statement once, if it is the same object
_FORGET_SLATE = text("DELETE FROM slate")
_FORGET_ALL_UPDATES = text("DELETE FROM updates")
_KEEP_UPDATE = text("INSERT INTO updates VALUES (:position, :part, :frame)")
_FORGET_UPDATES = text("DELETE FROM updates WHERE position <= :oldest")
_FORGET_POSITION = text("DELETE FROM stream")
_KEEP_POSITION = text("INSERT INTO stream VALUES (:validator, :netuid, :epoch, :position)")


class _Signed(NamedTuple):
    message: GameUpdateMessage
    frame: bytes


class _Stored(NamedTuple):
    opened: StreamOpened
    frames: list[_Signed]


class GameStream(Edge):
    """Stores the slate, the position, and the last ``HISTORY`` updates."""

    name = "game_stream"

    def __init__(self, database: LedgerDatabase, writer: FrameWriter, identity: Identity) -> None:
        self._database = database
        self._writer = writer
        self._validator = {"validator": identity.hotkey, "netuid": identity.netuid}

    async def open(self) -> None:
        """Publish ``StreamOpened`` if the file has a complete history of this neuron, and store updates from then on.

        Raises:
            ConfigurationError: the database cannot be read.
        """
        stored = await self._database.load(self._load)
        if stored is not None:
            for signed in stored.frames:
                self._writer.remember(*signed)
            self._bus.publish(stored.opened)

    @on(UpdateStoreRequested)
    def store(self, event: UpdateStoreRequested, envelope: Envelope) -> None:
        """Answered later, by ``UpdateStored`` or ``UpdateStoreFailed``."""
        signed = [_Signed(*self._writer.sign(part)) for part in event.parts]
        self._database.start(self._store(signed, envelope.seq), "game update")

    async def _store(self, signed: list[_Signed], request: int) -> None:
        try:
            await self._database.run(lambda: self._write(signed))
        except SQLAlchemyError as error:
            self._bus.publish(UpdateStoreFailed(cause(error)), causes=(request,))
        else:
            for part in signed:
                self._writer.remember(*part)
            self._bus.publish(UpdateStored(tuple(part.message for part in signed)), causes=(request,))

    # --- in the database's thread

    def _load(self) -> _Stored | None:
        connection = self._database.connection
        stream = connection.execute(
            text("SELECT epoch, position FROM stream WHERE validator = :validator AND netuid = :netuid"),
            self._validator,
        ).one_or_none()
        if stream is None:
            return None
        games = connection.scalars(text("SELECT content FROM slate ORDER BY game_id"))
        slate = tuple(msgspec.json.decode(content, type=TeamGame) for content in games)
        frames = [
            _read(frame) for frame in connection.scalars(text("SELECT frame FROM updates ORDER BY position, part"))
        ]
        updates: dict[Offset, tuple[GameUpdateMessage, ...]] = {}
        for message, _ in frames:
            updates[message.offset] = (*updates.get(message.offset, ()), message)
        if list(updates) != list(range(max(2, stream.position - HISTORY + 1), stream.position + 1)):
            return None  # offset 1 is the snapshot, which is not kept
        return _Stored(
            StreamOpened(Epoch(stream.epoch), Offset(stream.position), slate, tuple(updates.values())), frames
        )

    def _write(self, signed: list[_Signed]) -> None:
        first = signed[0].message
        position = {"epoch": first.epoch, "position": first.offset, "oldest": first.offset - HISTORY}
        games = to_json([game for message, _ in signed for game in message.updated_games.values()])
        with self._database.transaction() as connection:
            if first.previous is None:
                connection.execute(_FORGET_SLATE)
                connection.execute(_FORGET_ALL_UPDATES)
            else:
                for message, frame in signed:
                    row = {"position": message.offset, "part": message.part, "frame": frame}
                    connection.execute(_KEEP_UPDATE, row)
            for statement in _CHANGE_SLATE:
                connection.execute(statement, {"games": games})
            connection.execute(_FORGET_UPDATES, position)
            connection.execute(_FORGET_POSITION)
            connection.execute(_KEEP_POSITION, self._validator | position)


def _read(frame: bytes) -> _Signed:
    message = codec.read(codec.split(frame).payload)
    assert isinstance(message, GameUpdateMessage)  # noqa: S101 - we wrote it, and the database checked its pages
    return _Signed(message, frame)
