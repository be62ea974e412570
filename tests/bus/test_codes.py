"""Every code stands in the protocol as it stands here, and says one thing."""

import re
from enum import Enum
from pathlib import Path

import pytest

from bettensor.bus.codes import CloseCode, ErrorCode, RefusalCode, VerdictCode

PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def section(title: str) -> str:
    """The text below a heading of the protocol, up to the next one."""
    return PROTOCOL.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_each_refusal_has_the_http_status_of_the_protocol() -> None:
    of_no_request, _, of_requests = section("Refusals").partition("The other checks")
    assert documented_in(of_requests) == {(str(code), code.status) for code in RefusalCode}
    codes = {code for code, _ in documented_in(of_no_request)}
    of_handshakes = {RefusalCode.NO_UPGRADE, RefusalCode.METHOD_NOT_ALLOWED, RefusalCode.UNSUPPORTED_PROTOCOL}
    assert codes == {RefusalCode.MALFORMED, RefusalCode.TOO_LARGE, *of_handshakes}


def documented_in(text: str) -> set[tuple[str, int]]:
    """Code and status of each row."""
    rows = re.findall(r"^\| (\d{3}) \| ([`\w, ]+) \|", text, re.MULTILINE)
    return {(code, int(status)) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}


def test_each_verdict_is_in_the_protocol_and_each_in_the_protocol_is_known() -> None:
    text = section("Results and rules") + section("One verdict")
    assert [code for code in VerdictCode if f"`{code}`" not in text] == []


def test_the_errors_are_those_of_the_protocol() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", section("Errors"), re.MULTILINE)) - {"code"} == set(ErrorCode)


def test_each_close_code_of_our_own_is_in_the_protocol_and_the_reverse() -> None:
    documented = {int(code) for code in re.findall(r"^\| (4\d{3}) \|", section("Closing"), re.MULTILINE)}
    assert documented == {int(code) for code in CloseCode if code >= 4000}


def test_a_close_code_below_4000_is_one_of_rfc_6455() -> None:
    assert {int(code) for code in CloseCode if code < 4000} <= set(range(1000, 1015)) - {1004}


@pytest.mark.parametrize("codes", [CloseCode, ErrorCode, RefusalCode, VerdictCode])
def test_no_two_names_mean_the_same_code(codes: type[Enum]) -> None:
    assert len(codes.__members__) == len({code.value for code in codes})
