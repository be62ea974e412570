"""How long a miner waits at most: less where the cause may be gone at any moment."""

import pytest

from bettensor.actors.miner.patience import SOON, hinted_wait, longest_wait
from bettensor.bus.codes import RefusalCode


@pytest.mark.parametrize("code", [RefusalCode.STALE, RefusalCode.NO_METAGRAPH])
def test_a_cause_that_may_be_gone_at_any_moment_is_tried_soon(code: str) -> None:
    assert longest_wait(code, 300.0) == SOON
    assert longest_wait(code, 5.0) == 5.0


@pytest.mark.parametrize("code", ["", "a_code_of_a_newer_validator", RefusalCode.NOT_REGISTERED])
def test_any_other_cause_takes_what_is_configured(code: str) -> None:
    assert longest_wait(code, 300.0) == 300.0


def test_nobody_can_stop_a_miner_for_longer_than_it_would_wait_by_itself() -> None:
    assert [hinted_wait(seconds, 300.0) for seconds in (None, 0, 60, 300, 99_999)] == [0, 0, 60, 300, 300]
