"""What a validator says to the miner of these tests."""

from dataclasses import replace
from typing import Any

from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import ConnectionId, Epoch, LedgerId, Offset, SessionId
from bettensor.bus.messages import (
    ConfirmationMessage,
    GameUpdateMessage,
    Limits,
    PredictionResult,
    WelcomeMessage,
    session_id,
)
from tests.support import NETUID, make_hotkey

ME, VALIDATOR, OTHER = make_hotkey("me"), make_hotkey("validator"), make_hotkey("other")
CONNECTION, SESSION = ConnectionId(1), SessionId("5" * 32)
EPOCH = Epoch("e" * 32)


def update(
    offset: int, previous: int | None, *games: TeamGame, epoch: Epoch = EPOCH, part: int = 1, parts: int = 1
) -> GameUpdateMessage:
    return GameUpdateMessage(
        netuid=NETUID,
        epoch=epoch,
        offset=Offset(offset),
        previous=None if previous is None else Offset(previous),
        updated_games={game.game_id: game for game in games},
        part=part,
        parts=parts,
    )


def welcome(**changes: Any) -> WelcomeMessage:
    challenge, salt = "1752076800000000000", "5a" * 16
    message = WelcomeMessage(
        session=session_id(NETUID, VALIDATOR, ME, challenge, salt),
        seq=1,
        receiver_hotkey=ME,
        challenge=challenge,
        salt=salt,
        netuid=NETUID,
        ledger_id=LedgerId("1" * 32),
        heartbeat_interval=60.0,
        connection_timeout=300.0,
        epoch=EPOCH,
        offset=Offset(3),
        recovered=False,
        limits=Limits(frame_bytes=65536, predictions_per_message=64, messages_per_second=1000.0, burst=2000.0),
    )
    return replace(message, **changes)


def confirm(*ids: str, code: str = "accepted") -> ConfirmationMessage:
    results = tuple(
        PredictionResult(prediction_id=i, about="a" * 32, success=code == "accepted", code=code, message="")  # type: ignore[arg-type]
        for i in ids
    )
    return ConfirmationMessage(results=results)
