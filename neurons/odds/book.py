"""The last good odds of several sports, also as a games file. Pure: knows no clock, no file and no service."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from json import dumps
from typing import Annotated

import msgspec

from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import GameId, Micros
from bettensor.bus.timestamps import parse_rfc3339, rfc3339
from bettensor.neurons.odds.listing import Listing

_Header = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]{1,1024}\Z")]
_LATEST = parse_rfc3339("9999-12-31T23:59:59Z")


class AnswerVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The headers that tell one version of an answer from another (RFC 9110, section 8.8), as they are sent back."""

    etag: _Header | None = None
    last_modified: _Header | None = None


class Kept(msgspec.Struct, kw_only=True):
    """The last answer for one sport."""

    at: Annotated[Micros, msgspec.Meta(ge=0, le=_LATEST)]
    """Wall clock when the service last said that these are the odds."""
    version: AnswerVersion
    games: list[TeamGame]


class _Document(msgspec.Struct, kw_only=True):
    source: str
    date: str
    games: list[TeamGame]
    """For readers of games files."""
    question: list[str]
    answers: dict[str, Kept]
    """For the next run."""


class OddsBook:
    """Takes answers, drops games that have started, and knows the whole slate."""

    def __init__(self, source: str, question: Sequence[str]) -> None:
        self._source = source
        self._question = list(question)
        """What all answers answer, besides their sport. Answers to another question are not restored."""
        self._answers: dict[str, Kept] = {}

    def __getitem__(self, sport: str) -> Kept | None:
        return self._answers.get(sport)

    def take(self, sport: str, listings: Iterable[Listing], version: AnswerVersion, now: Micros) -> None:
        """An answer with odds. A game that differs in nothing but its dates stays as it was: miners need no update."""
        kept = self._answers.get(sport)
        known = {} if kept is None else {game.game_id: game for game in kept.games}
        games = [_steady(game, known.get(game.game_id)) for game in (listing.game() for listing in listings)]
        self._answers[sport] = Kept(at=now, version=version, games=games)

    def confirm(self, sport: str, now: Micros) -> None:
        """An answer without odds: the kept ones have not changed."""
        self._answers[sport].at = now

    def drop_started(self, now: Micros) -> None:
        """Forget the games that have started by ``now``."""
        for kept in self._answers.values():
            kept.games = [game for game in kept.games if _start(game) > now]

    def next_start(self) -> Micros | None:
        """When the next game starts; None without games."""
        return min((_start(game) for kept in self._answers.values() for game in kept.games), default=None)

    def document(self, sports: Sequence[str]) -> str:
        """A games file with the odds of ``sports``; of several games with one id the first counts."""
        answers = {sport: kept for sport in sports if (kept := self._answers.get(sport)) is not None}
        games: dict[GameId, TeamGame] = {}
        for kept in answers.values():
            for game in kept.games:
                games.setdefault(game.game_id, game)
        date = rfc3339(max((kept.at for kept in answers.values()), default=Micros(0)))
        document = _Document(
            source=self._source, date=date, games=list(games.values()), question=self._question, answers=answers
        )
        return dumps(msgspec.to_builtins(document), indent=2) + "\n"

    def restore(self, document: bytes) -> None:
        """Take the answers of an earlier run from what ``document`` made, if they answer the same question.

        Raises:
            ValueError: it is no such document.
        """
        try:
            found = msgspec.json.decode(document, type=_Document)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        for kept in found.answers.values():
            for game in kept.games:
                _start(game)
        if found.question == self._question:
            self._answers = found.answers


def _steady(game: TeamGame, known: TeamGame | None) -> TeamGame:
    if known is None:
        return game
    first_listed = replace(game, create_date=known.create_date)
    return known if replace(first_listed, last_update_date=known.last_update_date) == known else first_listed


def _start(game: TeamGame) -> Micros:
    return parse_rfc3339(game.event_start_date)
