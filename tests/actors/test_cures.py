"""What an operator can do about a connection that is not there: one sentence for each cause, on either side."""

from typing import get_args

import pytest

from bettensor.actors.cures import (
    ANOTHER_SERVER,
    AS_REFUSAL,
    BEHIND,
    NO_ANSWER,
    ON_MINER,
    ON_VALIDATOR,
    OURS,
    contest_of,
    cure_for_axon,
    cure_for_close,
    cure_for_endpoint,
    cure_for_miner,
)
from bettensor.bus.codes import AXON, CloseCode, RefusalCode
from bettensor.bus.events import AnnouncementContested, Role
from bettensor.bus.identifiers import SECOND, Micros
from tests.support import NOW

HANDSHAKE = {
    RefusalCode.WRONG_NETUID,
    RefusalCode.WRONG_RECEIVER,
    RefusalCode.STALE,
    RefusalCode.NO_UPGRADE,
    RefusalCode.NO_METAGRAPH,
    RefusalCode.NOT_REGISTERED,
    RefusalCode.BLACKLISTED,
    RefusalCode.OVER_CAPACITY,
    RefusalCode.WEBSOCKET_DISABLED,
}
"""Refusals that an operator can do something about, whose side soever they are on."""


def test_every_cure_is_for_a_code_that_exists_and_every_cause_has_one_on_either_side() -> None:
    assert set(ON_MINER) >= HANDSHAKE
    assert set(ON_VALIDATOR) >= HANDSHAKE
    assert {*ON_MINER, *ON_VALIDATOR, *AS_REFUSAL.values()} <= {*RefusalCode, AXON}
    assert set(AS_REFUSAL) <= set(CloseCode)


@pytest.mark.parametrize("cure", [*ON_MINER.values(), *ON_VALIDATOR.values()])
def test_a_cure_is_a_part_of_a_line(cure: str) -> None:
    assert cure[0].islower()
    assert not cure.endswith(".")
    assert cure.isprintable()


def test_a_dial_that_was_not_answered_has_another_cure_than_one_that_was_refused() -> None:
    assert cure_for_miner(None, "") == NO_ANSWER
    assert cure_for_miner(403, RefusalCode.NOT_REGISTERED) == ON_MINER[RefusalCode.NOT_REGISTERED]


def test_a_miner_that_is_registered_is_not_told_to_register() -> None:
    assert cure_for_miner(403, RefusalCode.NOT_REGISTERED, registered=True) == BEHIND
    assert cure_for_miner(403, RefusalCode.BLACKLISTED, registered=True) == ON_MINER[RefusalCode.BLACKLISTED]


@pytest.mark.parametrize("status", [200, 404, 502])
def test_an_answer_that_is_no_validators_is_of_another_server(status: int) -> None:
    assert cure_for_miner(status, "") == ANOTHER_SERVER


@pytest.mark.parametrize("code", ["a_code_of_a_newer_validator", RefusalCode.INTERNAL, RefusalCode.RESTARTING])
def test_where_nothing_can_be_done_nothing_is_said(code: str) -> None:
    assert cure_for_miner(503, code) == ""


@pytest.mark.parametrize("code", AS_REFUSAL)
def test_a_close_has_the_cure_of_the_refusal_that_says_the_same(code: int) -> None:
    refusal = AS_REFUSAL[code]
    assert cure_for_close("miner", code) == ON_MINER[refusal]
    assert cure_for_close("validator", code) == ON_VALIDATOR[refusal]


@pytest.mark.parametrize("role", get_args(Role))
@pytest.mark.parametrize("code", [CloseCode.NORMAL, CloseCode.STALE, CloseCode.REPLACED, CloseCode.RESTARTING, 4099])
def test_any_other_close_has_none(role: Role, code: int) -> None:
    assert cure_for_close(role, code) == ""


def test_a_wrong_endpoint_is_corrected_in_the_section_of_the_role() -> None:
    assert cure_for_endpoint("validator").startswith("correct axon.port, axon.external_ip, axon.external_port, or")
    assert cure_for_endpoint("miner").startswith("correct synapse.port, synapse.external_ip, synapse.external_port, or")


CONTESTS: list[tuple[Role, Micros | None, bool, int, str]] = [
    (
        "validator",
        Micros(NOW - 60 * SECOND),
        True,
        3600,
        "which it took from this validator at 2026-05-28 20:25:40 UTC; the other was there first, so this validator "
        "announces again in 60 min",
    ),
    (
        "miner",
        None,
        False,
        0,
        "which it had when this miner started; this miner was there first, so it announces again at once",
    ),
    (
        "miner",
        None,
        False,
        120,
        "which it had when this miner started; this miner was there first, so it announces again in 2 min",
    ),
]


@pytest.mark.parametrize(("role", "ours_at", "yields", "delay", "told"), CONTESTS)
def test_a_contest_is_told_with_both_endpoints_times_and_its_consequence(
    role: Role, ours_at: Micros | None, yields: bool, delay: int, told: str
) -> None:
    event = AnnouncementContested("1.2.3.4:5", "1.2.3.4:6", ours_at, NOW, yields, Micros(delay * SECOND), 0)
    text, cure = contest_of(event, role)
    head = "another process of this hotkey announces its own endpoint: the chain has 1.2.3.4:6, seen at "
    assert text == f"{head}2026-05-28 20:26:40 UTC, in place of 1.2.3.4:5, {told}"
    assert f"{ {'validator': 'axon', 'miner': 'synapse'}[role] }.serve: false" in cure


@pytest.mark.parametrize(("status", "cure"), [(401, "NTP"), (403, "stake"), (404, "no existing miner"), (None, "down")])
def test_what_existing_miners_refuse_for_has_a_cure(status: int | None, cure: str) -> None:
    assert cure in cure_for_axon(status)
    assert cure_for_axon(500) == ""
    assert all(cure_for_axon(status) for status in OURS)
