"""Prices in three formats: exact odds, and a refusal that names the format that fits."""

from fractions import Fraction
from typing import Any

import pytest

from bettensor.neurons.odds.prices import OddsFormat, Quote, mean, quote, rounded


def odds(home: Any, away: Any, form: OddsFormat = "decimal") -> tuple[float, float]:
    made = quote({"home": home, "away": away}, form)
    return rounded(made.home), rounded(made.away)


@pytest.mark.parametrize(
    ("form", "home", "away", "expected"),
    [
        ("decimal", 1.91, 2, (1.91, 2.0)),
        ("decimal", "1.90", " +2.1 ", (1.9, 2.1)),
        ("american", 120, -110, (2.2, 1.909091)),
        ("american", "+120", "-110", (2.2, 1.909091)),
        ("american", "120", "-150.0", (2.2, 1.666667)),
        ("american", 100, -100, (2.0, 2.0)),
        ("american", "even", -105, (2.0, 1.952381)),
        ("fractional", "6/5", "10/11", (2.2, 1.909091)),
        ("fractional", "evens", "Evs", (2.0, 2.0)),
    ],
)
def test_each_format_is_converted_to_a_millionth(
    form: OddsFormat, home: Any, away: Any, expected: tuple[float, float]
) -> None:
    assert odds(home, away, form) == expected


@pytest.mark.parametrize(
    ("form", "price", "message"),
    [
        ("decimal", 0.0, "expected a number above 1, not 0.0"),
        ("decimal", 1, "expected a number above 1, not 1"),
        ("decimal", -110, "not -110; American odds? Then use --odds-format american"),
        ("decimal", "-110", 'not "-110"; American odds? Then use --odds-format american'),
        ("decimal", "+120", 'not "+120"; American odds? Then use --odds-format american'),
        ("decimal", "6/5", 'not "6/5"; fractional odds? Then use --odds-format fractional'),
        ("decimal", "evens", "fractional odds? Then use --odds-format fractional"),
        ("decimal", "1,90", "decimal point"),
        ("decimal", True, "expected a number, not true"),
        ("decimal", None, "expected a number, not null"),
        ("decimal", float("nan"), "expected a number, not NaN"),
        ("decimal", 10**400, "expected a number"),
        ("decimal", 1_000_001, "at most 1000000"),
        ("decimal", 1.0000001, "above 1"),
        (
            "american",
            1.9,
            "expected American odds like +120 or -110, not 1.9; decimal odds? Then use --odds-format decimal",
        ),
        ("american", 50, "expected American odds"),
        ("american", "6/5", "fractional odds? Then use --odds-format fractional"),
        ("american", -(10**30), "above 1"),
        ("fractional", 1.9, "expected fractional odds like 6/5 or evens, not 1.9; decimal odds?"),
        ("fractional", "+120", "American odds?"),
        ("fractional", "6/0", "expected fractional odds"),
        ("fractional", "0/5", "above 1"),
    ],
)
def test_a_price_of_another_format_is_refused_with_a_guess(form: OddsFormat, price: Any, message: str) -> None:
    fine: dict[OddsFormat, Any] = {"decimal": 1.9, "american": -110, "fractional": "10/11"}
    with pytest.raises(ValueError, match=r"^home: ") as refused:
        quote({"home": price, "away": fine[form]}, form)
    assert message in str(refused.value)


def test_american_odds_without_a_sign_are_known_by_their_sum() -> None:
    with pytest.raises(ValueError, match="home, away: the odds") as refused:
        odds(120, 105)
    assert str(refused.value) == (
        "home, away: the odds 120 and 105 imply probabilities that add up to 0.0179; expected 0.9 to 2; "
        "American odds? Then use --odds-format american"
    )


def test_hundredfold_odds_are_known_by_their_sum_too() -> None:
    with pytest.raises(ValueError, match=r"expected 0.9 to 2; hundredfold decimal odds\?$"):
        odds(185, 210)


@pytest.mark.parametrize(("home", "away"), [(4, 5), (5, 5), (1.0001, 1.00001)])
def test_prices_that_no_bookmaker_has_are_refused_without_a_guess(home: float, away: float) -> None:
    with pytest.raises(ValueError, match=r"imply probabilities that add up to [0-9.]+; expected 0.9 to 2$"):
        quote({"home": home, "away": away, "draw": home + 7 if home > 2 else 1.2}, "decimal")


def test_the_mean_is_that_of_decimal_odds_and_exact() -> None:
    quotes = [quote({"home": 1.91, "away": 2.05}, "decimal"), quote({"home": 1.95, "away": 2.0}, "decimal")]
    assert mean(quotes) == Quote(Fraction(193, 100), Fraction(2025, 1000))
    three = [quote({"h": 2.5, "a": 3.1, "d": draw}, "decimal") for draw in (3.2, 3.3)]
    assert mean(three).draw == Fraction(325, 100)


def test_a_half_millionth_is_rounded_to_the_even_one() -> None:
    assert rounded(Fraction(18_000_005, 10_000_000)) == 1.8
    assert rounded(Fraction(18_000_015, 10_000_000)) == 1.800002
