"""Prices of bookmakers as decimal odds. Exact until the end: then odds are rounded to a millionth.

No format is guessed. A price that does not fit the given format is refused; the message names the format that fits.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final, Literal, NamedTuple

from bettensor.actors.odds import AMERICAN, doubt_of_sum, form_of
from bettensor.neurons.config.documents import number_of, shown

OddsFormat = Literal["decimal", "american", "fractional"]
"""decimal: 2.2 pays 2.2 for a stake of 1. american: +120 wins 120 for a stake of 100, -110 wins 100 for a stake of 110.
fractional: 6/5 wins 6 for a stake of 5."""
DIGITS: Final = 6
"""Decimals of converted odds: verdicts compare odds in millionths (protocol, "Numbers")."""
MOST_ODDS: Final = 1_000_000
"""No bookmaker offers more."""

_FRACTION: Final = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_EVENS: Final = ("evens", "even", "evs")


class Quote(NamedTuple):
    """Decimal odds of each outcome."""

    home: Fraction
    away: Fraction
    draw: Fraction | None = None


def quote(prices: Mapping[str, Any], form: OddsFormat) -> Quote:
    """The quote of one bookmaker, or of one snapshot.

    Args:
        prices: the price of each outcome of ``Quote``, by the name that messages shall use; home first, then away, then
            draw if there is one.
        form: how prices are written.

    Raises:
        ValueError: a price cannot be one, or all together cannot; the message names it and says what was expected.
    """
    odds = []
    for name, price in prices.items():
        try:
            odds.append(_in_range(_READERS[form](price), price))
        except ValueError as error:
            raise ValueError(f"{name}: {error}{_guess([price], form)}") from None
    doubt = doubt_of_sum([float(each) for each in odds])
    if doubt is not None:
        raise ValueError(f"{', '.join(prices)}: {doubt}{_guess(list(prices.values()), form)}")
    return Quote(*odds)


def mean(quotes: Sequence[Quote]) -> Quote:
    """The arithmetic mean of the decimal odds of each outcome; all quotes have the same outcomes."""
    return Quote(*(sum(odds, Fraction(0)) / len(odds) for odds in zip(*map(_outcomes, quotes), strict=True)))


def rounded(odds: Fraction) -> float:
    """``odds`` to the nearest millionth, a half to the even one."""
    return float(round(odds, DIGITS))


def _outcomes(of: Quote) -> list[Fraction]:
    return [odds for odds in of if odds is not None]


def _in_range(odds: Fraction, price: Any) -> Fraction:
    if not 1 < round(odds, DIGITS) <= MOST_ODDS:
        raise ValueError(f"expected decimal odds above 1, and at most {MOST_ODDS}, not {shown(price)}")
    return odds


def _decimal(price: Any) -> Fraction:
    number = _number(price)
    if number <= 1 or (number >= 100 and _has_plus(price)):
        raise ValueError(f"expected a number above 1, not {shown(price)}")
    return number


def _american(price: Any) -> Fraction:
    number = Fraction(100) if _is_evens(price) else _number(price)
    if -100 < number < 100:
        raise ValueError(f"expected American odds like +120 or -110, not {shown(price)}")
    return 1 + (number / 100 if number > 0 else 100 / -number)


def _fractional(price: Any) -> Fraction:
    if _is_evens(price):
        return Fraction(2)
    found = _FRACTION.fullmatch(price.strip()) if isinstance(price, str) else None
    if found is None or not int(found[2]):
        raise ValueError(f"expected fractional odds like 6/5 or evens, not {shown(price)}")
    return 1 + Fraction(int(found[1]), int(found[2]))


_READERS: Final[dict[OddsFormat, Callable[[Any], Fraction]]] = {
    "decimal": _decimal,
    "american": _american,
    "fractional": _fractional,
}


def _number(price: Any) -> Fraction:
    """The shortest decimal that is printed for this binary number: 1.91 is 191/100."""
    return Fraction(str(number_of(price)))


def _has_plus(price: Any) -> bool:
    return isinstance(price, str) and price.lstrip().startswith("+")


def _is_evens(price: Any) -> bool:
    return isinstance(price, str) and price.strip().lower() in _EVENS


def _guess(prices: Sequence[Any], form: OddsFormat) -> str:
    """The end of an error message: the form in which ``prices`` may have been meant, if it is another one."""
    found = _form_of(prices)
    if found in ("", _NAMES[form]):
        return ""
    others = [other for other, name in _NAMES.items() if name == found]
    return f"; {found}?{''.join(f' Then use --odds-format {other}' for other in others)}"


def _form_of(prices: Sequence[Any]) -> str:
    if all(map(_looks_fractional, prices)):
        return _NAMES["fractional"]
    try:
        numbers = [float(_number(price)) for price in prices]
    except ValueError:
        return ""
    return _NAMES["decimal"] if all(1 < number < 100 for number in numbers) else form_of(numbers)


def _looks_fractional(price: Any) -> bool:
    return isinstance(price, str) and (_is_evens(price) or _FRACTION.fullmatch(price.strip()) is not None)


_NAMES: Final[dict[OddsFormat, str]] = {
    "american": AMERICAN,
    "fractional": "fractional odds",
    "decimal": "decimal odds",
}
