"""The last good odds of several sports, also as a games file. Pure: knows no clock, no file and no service."""

from collections.abc import Iterable, Sequence
from json import dumps
from typing import Any, NamedTuple

import msgspec

from bettensor.bus.identifiers import Micros
from bettensor.bus.timestamps import parse_rfc3339, rfc3339
from bettensor.neurons.odds.listing import Listing

_DATES = ("create_date", "last_update_date")


class Validators(NamedTuple):
    """The headers that tell one version of an answer from another (RFC 9110, section 8.8)."""

    etag: str | None = None
    last_modified: str | None = None


class Kept(msgspec.Struct, kw_only=True):
    """The last answer for one sport."""

    at: Micros
    """Wall clock when the service last said that these are the odds."""
    validators: Validators
    games: list[dict[str, Any]]
    """In the form of a games file."""


class _Document(msgspec.Struct, kw_only=True):
    source: str
    date: str
    games: list[dict[str, Any]]
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

    def take(self, sport: str, listings: Iterable[Listing], validators: Validators, now: Micros) -> None:
        """An answer with odds. A game that differs in nothing but its dates stays as it was: miners need no update."""
        kept = self._answers.get(sport)
        known = {} if kept is None else {game["game_id"]: game for game in kept.games}
        games = [_steady(listing.entry(), known.get(listing.game_id)) for listing in listings]
        self._answers[sport] = Kept(at=now, validators=validators, games=games)

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
        games: dict[str, dict[str, Any]] = {}
        for kept in answers.values():
            for game in kept.games:
                games.setdefault(game["game_id"], game)
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
        found = msgspec.json.decode(document, type=_Document)
        for kept in found.answers.values():
            for game in kept.games:
                _start(game)
        if found.question == self._question:
            self._answers = found.answers


def _steady(game: dict[str, Any], known: dict[str, Any] | None) -> dict[str, Any]:
    if known is None:
        return game
    if all(game[name] == known.get(name) for name in game if name not in _DATES):
        return known
    return game | {"create_date": known["create_date"]}


def _start(game: dict[str, Any]) -> Micros:
    return parse_rfc3339(game["event_start_date"])
