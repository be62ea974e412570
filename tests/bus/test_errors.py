"""The tree of exceptions: a remote fault knows its reply, and a local one has none."""

import inspect
import re

import pytest

from bettensor.bus import errors
from bettensor.bus.codes import CloseCode, ErrorCode
from bettensor.bus.errors import BettensorError, Malformed, RemoteFault, Unreadable


def ours() -> list[type[Exception]]:
    return [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, Exception)]


def test_the_tree_at_the_top_names_every_exception_once() -> None:
    drawn = re.findall(r"(?:── |    )(\b[A-Z]\w+)", str(errors.__doc__))
    assert sorted(drawn) == sorted(cls.__name__ for cls in ours())


def test_every_exception_is_one_of_this_project() -> None:
    assert all(issubclass(cls, BettensorError) for cls in ours())


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        (Unreadable("x"), CloseCode.PROTOCOL_VIOLATION),
        (Unreadable("x", CloseCode.TOO_BIG), CloseCode.TOO_BIG),
    ],
)
def test_what_is_unreadable_closes_the_session(fault: Unreadable, reply: CloseCode) -> None:
    assert (str(fault), fault.close) == ("x", reply)
    assert isinstance(fault, RemoteFault)
    assert not isinstance(fault, Malformed)


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        (Malformed("x"), ErrorCode.MALFORMED),
        (Malformed("x", ErrorCode.UNKNOWN_TYPE), ErrorCode.UNKNOWN_TYPE),
    ],
)
def test_what_is_malformed_is_answered(fault: Malformed, reply: ErrorCode) -> None:
    assert (str(fault), fault.code) == ("x", reply)
    assert isinstance(fault, RemoteFault)
    assert not isinstance(fault, Unreadable)
