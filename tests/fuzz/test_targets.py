"""The short form of ``make fuzz``: every kept input, and changed ones."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_is_accepted_or_refused_as_promised(name: str) -> None:
    kept = seeds(name)
    assert kept
    for data in kept:
        TARGETS[name].read(data)


@pytest.mark.parametrize("name", TARGETS)
@given(choice=st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_changed_inputs_are_accepted_or_refused_as_promised(name: str, choice: Any) -> None:
    target = TARGETS[name]
    target.read(changed(choice.choice(seeds(name)), choice)[: target.most])


def changed(data: bytes, choice: Any) -> bytes:
    """``data`` with some bytes replaced, repeated, moved or left out."""
    left = bytearray(data)
    for _ in range(choice.randint(1, 8)):
        begin = choice.randint(0, len(left))
        end = min(len(left), begin + choice.choice((1, 1, 2, 8, 64)))
        new = choice.choice(
            (b"", choice.randbytes(end - begin), left[begin:end] * 2, b"[", b"{", b'"', b"\\u", b"9" * 400)
        )
        left[begin:end] = new
    return bytes(left)
