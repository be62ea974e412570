"""What a validator says when it refuses: it may be anything, and is believed in nothing."""

import json

import pytest

from bettensor.neurons.edges.refusals import read_refusal, read_retry_after


def test_a_refusal_has_its_code_and_a_text_for_people() -> None:
    body = json.dumps({"error": "stale", "message": "signed 60 s ago", "more": [1]}).encode()
    assert read_refusal(body) == ("stale", "stale: signed 60 s ago")
    assert read_refusal(bytearray(body)) == read_refusal(body)


def test_a_code_is_cut_before_it_fills_a_log() -> None:
    refusal = read_refusal(json.dumps({"error": "x" * 10_000, "message": ""}).encode())
    assert refusal == ("x" * 64, f"{'x' * 64}: ")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b"7",
        b"[]",
        b"null",
        b"{}",
        b'{"error":"stale"}',
        b'{"message":"x"}',
        b'{"error":401,"message":"x"}',
        b'{"error":"stale","message":null}',
        b'{"error":"\xff","message":"x"}',
        b'{"error":"stale","message":"x"',
        b'{"error":"stale","message":"x","more":' + b"[" * 50_000,
    ],
)
def test_anything_else_is_no_refusal(body: bytes) -> None:
    assert read_refusal(body) is None


@pytest.mark.parametrize(("values", "seconds"), [(["0"], 0), (["5"], 5), (["00030"], 30), (["99999"], 99_999)])
def test_the_seconds_to_wait_are_a_number(values: list[str], seconds: int) -> None:
    assert read_retry_after(values) == seconds


@pytest.mark.parametrize(
    "values",
    [[], [""], ["-1"], ["+1"], ["1.5"], [" 5"], ["100000"], ["5", "5"], ["Fri, 31 Dec 2026 23:59:59 GMT"], ["²"]],
)
def test_anything_else_says_nothing_that_can_be_used(values: list[str]) -> None:
    assert read_retry_after(values) is None
