"""Events of The Odds API, version 4: the answer to ``GET /v4/sports/{sport}/odds``.

An event has ``id``, ``sport_key``, ``sport_title``, ``commence_time``, ``home_team``, ``away_team`` and ``bookmakers``.
Only the market ``h2h`` of a bookmaker is read; its outcomes are the two teams and, if the game can tie, ``Draw``. The
odds of an outcome are the arithmetic mean of all bookmakers' decimal odds.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from bettensor.neurons.odds.listing import (
    Instant,
    Listing,
    Name,
    Omission,
    ReadOdds,
    convert,
    id_of,
    in_order,
    refuse_itself,
)
from bettensor.neurons.odds.prices import OddsFormat, Quote, mean, quote

MARKS: Final = frozenset({"commence_time", "home_team", "away_team", "bookmakers"})
"""Keys by which an event is known; no other form has any of them."""
MARKET: Final = "h2h"
DRAW: Final = "Draw"


class _Outcome(msgspec.Struct):
    name: str
    price: Any


class _Market(msgspec.Struct):
    key: str
    outcomes: list[_Outcome]
    last_update: Instant | None = None


class _Bookmaker(msgspec.Struct):
    key: str
    markets: list[Any]
    """Read one by one: an unused market may be anything."""
    last_update: Instant | None = None


class _Event(msgspec.Struct):
    id: Name
    sport_key: Name
    sport_title: Name
    commence_time: Instant
    home_team: Name
    away_team: Name
    bookmakers: list[Any] = []
    """Read one by one: a wrong one takes no other along."""


class _Offer(msgspec.Struct):
    """The odds of one bookmaker."""

    quote: Quote
    updated: datetime | None


def read_events(rows: Sequence[Any], form: OddsFormat, now: datetime) -> ReadOdds:
    """The games in ``rows``, between home (team_a) and away (team_b).

    Args:
        rows: the events.
        form: how prices are written.
        now: the time of odds whose bookmakers say none.
    """
    listings: dict[str, Listing] = {}
    skipped: list[Omission] = []
    left_out: list[Omission] = []
    for place, row in enumerate(rows):
        game_id = id_of(row, "id")
        try:
            event = convert(row, _Event)
            refuse_itself(event.home_team, event.away_team, "away_team")
            if event.id in listings:
                raise ValueError("id: another event with this id stands before it")
        except ValueError as error:
            skipped.append(Omission(place, game_id, str(error)))
            continue
        offers, faults = _offers(event, form)
        left_out += (Omission(place, game_id, fault) for fault in faults)
        if offers:
            listings[event.id] = _listing(event, offers, now)
        else:
            reason = "bookmakers: none of them has usable odds" if faults else f"bookmakers: none has odds ({MARKET})"
            skipped.append(Omission(place, game_id, reason, unpriced=not faults))
    return ReadOdds(len(rows), in_order(listings.values()), skipped, left_out)


def _listing(event: _Event, offers: Sequence[_Offer], now: datetime) -> Listing:
    return Listing(
        event.id,
        event.home_team,
        event.away_team,
        event.sport_key.partition("_")[0],
        event.sport_title,
        max((offer.updated for offer in offers if offer.updated is not None), default=now),
        event.commence_time,
        mean([offer.quote for offer in offers]),
    )


def _offers(event: _Event, form: OddsFormat) -> tuple[list[_Offer], list[str]]:
    """The usable offers, and the fault of each other bookmaker that has the market."""
    offers: dict[str, _Offer] = {}
    faults = []
    for place, each in enumerate(event.bookmakers):
        name = id_of(each, "key") or str(place)
        try:
            offer = _offer(event, convert(each, _Bookmaker), form)
        except ValueError as error:
            faults.append(f"bookmakers.{name}: {error}")
        else:
            if offer is not None:
                offers[name] = offer
    if any(offer.quote.draw is not None for offer in offers.values()):
        # a bet without the draw is another bet: its stake comes back, or overtime counts
        without = [name for name, offer in offers.items() if offer.quote.draw is None]
        faults += [f"bookmakers.{name}: expected odds for {DRAW!r}, which others have" for name in without]
        offers = {name: offer for name, offer in offers.items() if name not in without}
    return list(offers.values()), faults


def _offer(event: _Event, bookmaker: _Bookmaker, form: OddsFormat) -> _Offer | None:
    """None if the bookmaker does not have the market."""
    found = next((each for each in bookmaker.markets if isinstance(each, dict) and each.get("key") == MARKET), None)
    if found is None:
        return None
    market = convert(found, _Market)
    prices = {outcome.name: outcome.price for outcome in market.outcomes}
    outcomes = [event.home_team, event.away_team, *([DRAW] if DRAW in prices else [])]
    if sorted(outcomes) != sorted(outcome.name for outcome in market.outcomes):
        names = ", ".join(repr(outcome.name) for outcome in market.outcomes)
        raise ValueError(
            f"outcomes: expected {event.home_team!r}, {event.away_team!r} and perhaps {DRAW!r}, not {names}"
        )
    odds = quote({name: prices[name] for name in outcomes}, form)
    return _Offer(odds, market.last_update or bookmaker.last_update)
