"""Odds that no bookmaker has, and the form in which they may have been meant.

Decimal odds imply the probability 1/odds. Over all outcomes of a game these add up to a little more than 1; the
excess is the bookmaker's margin. Odds in another form, if they are read as decimal ones, add up to much less.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from bettensor.bus.games import TeamGame

MIN_IMPLIED: Final = 0.9
MAX_IMPLIED: Final = 2.0
"""The sums of implied probabilities that are plausible. A bookmaker's sum is 1.02 to 1.10, and a little below 1 if the
odds of several bookmakers are mixed."""
AMERICAN: Final = "American odds"
USUAL: Final = 1.05
"""The sum of a usual bookmaker: of two forms, the one whose sum is nearer is guessed."""
CLOSE: Final = 0.2
"""A form is guessed by its sum if that is no further from the usual one."""


def fault_of_odds(game: TeamGame) -> str | None:
    """Why the odds of ``game`` are no decimal odds, if they are none."""
    for name in ("team_a_odds", "team_b_odds", "tie_odds"):
        odds = getattr(game, name)
        if odds is not None and not (math.isfinite(odds) and odds > 1):
            return f"{name}: expected a finite number above 1, not {odds}{_guess(_prices(game))}"
    return None


def doubt_of_odds(game: TeamGame, least: float = MIN_IMPLIED, most: float = MAX_IMPLIED) -> str | None:
    """Why no bookmaker offers the odds of ``game``, if so.

    Args:
        game: its odds may be any numbers: a validator or a feed may have sent them.
        least: the smallest plausible sum of its implied probabilities.
        most: the largest.
    """
    fault = fault_of_odds(game)
    if fault is not None:
        return fault
    odds = _prices(game)
    doubt = doubt_of_sum(odds, least, most)
    return None if doubt is None else f"{doubt}{_guess(odds)}"


def doubt_of_sum(odds: Sequence[float], least: float = MIN_IMPLIED, most: float = MAX_IMPLIED) -> str | None:
    """Why no bookmaker offers the decimal ``odds``, each above 1, of all outcomes of a game, if so."""
    total = implied_probability(odds)
    if least <= total <= most:
        return None
    shown = " and ".join(f"{price:g}" for price in odds)
    return f"the odds {shown} imply probabilities that add up to {total:.3g}; expected {least:g} to {most:g}"


def _prices(game: TeamGame) -> list[float]:
    """The odds of each outcome of ``game``."""
    return [odds for odds in (game.team_a_odds, game.team_b_odds, game.tie_odds) if odds is not None]


def implied_probability(odds: Iterable[float]) -> float:
    """The sum of the probabilities that decimal ``odds``, each above 1, imply."""
    return sum(1 / price for price in odds)


def _guess(odds: Sequence[float]) -> str:
    """The form that the odds may have, as the end of a message."""
    form = form_of(odds)
    return f" ({form}?)" if form else ""


def form_of(odds: Sequence[float]) -> str:
    """The form in which ``odds``, which are no decimal ones, may have been meant; empty if none fits."""
    forms = {AMERICAN: _from_american(odds), "hundredfold decimal odds": _from_hundredfold(odds)}
    sums = {name: implied_probability(meant) for name, meant in forms.items() if meant}
    near = {name: distance for name, total in sums.items() if (distance := abs(total - USUAL)) <= CLOSE}
    if near:
        return min(near, key=near.__getitem__)
    return AMERICAN if AMERICAN in sums else ""


def _from_american(odds: Sequence[float]) -> list[float] | None:
    if not all(math.isfinite(price) and abs(price) >= 100 for price in odds):
        return None
    return [1 + (price / 100 if price > 0 else -100 / price) for price in odds]


def _from_hundredfold(odds: Sequence[float]) -> list[float] | None:
    meant = [price / 100 for price in odds]
    return meant if all(math.isfinite(price) and price > 1 for price in meant) else None
