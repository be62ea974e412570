"""How long a miner waits at most: less where the cause may be gone at any moment."""

import pytest

from bettensor.actors.miner.patience import SOON, longest_wait
from bettensor.bus.codes import RefusalCode


@pytest.mark.parametrize("code", [RefusalCode.STALE, RefusalCode.NO_METAGRAPH])
def test_a_cause_that_may_be_gone_at_any_moment_is_tried_soon(code: str) -> None:
    assert longest_wait(code, 300.0) == SOON
    assert longest_wait(code, 5.0) == 5.0


@pytest.mark.parametrize("code", ["", "a_code_of_a_newer_validator", RefusalCode.NOT_REGISTERED])
def test_any_other_cause_takes_what_is_configured(code: str) -> None:
    assert longest_wait(code, 300.0) == 300.0
