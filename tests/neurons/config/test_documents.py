"""What operators and spreadsheets write is read alike, and what cannot be read says how to repair it."""

import json
import math
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.config.documents import (
    MAX_SHOWN,
    NotANumber,
    decoded,
    explained,
    number_of,
    read_json,
    read_text,
    shown,
)


@pytest.mark.parametrize("value", [1.9, "1.9", "1.90", " 1.9 ", "+1.9", "19e-1", "\t1.9\r\n", "\x1e1.9\x1c"])
def test_a_number_and_its_text_are_read_alike(value: Any) -> None:
    assert number_of(value) == 1.9


@pytest.mark.parametrize(
    ("value", "number"), [(2, 2.0), ("2", 2.0), ("-110", -110.0), (".5", 0.5), ("2.", 2.0), (0, 0)]
)
def test_whole_and_negative_numbers_are_numbers(value: Any, number: float) -> None:
    assert number_of(value) == number


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, "null"),
        (True, "true"),
        ("", '""'),
        ("much", '"much"'),
        ("nan", '"nan"'),
        ("inf", '"inf"'),
        ("-Infinity", '"-Infinity"'),
        ("1e999", '"1e999"'),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (10**400, "1000000"),
        ("1_000", '"1_000"'),
        ("0x10", '"0x10"'),
        ("\u0661", '"\\u0661"'),
        ([1.9], "[1.9]"),
        ({}, "{}"),
        ("1.9 2.0", '"1.9 2.0"'),
    ],
)
def test_what_is_no_finite_number_is_refused_with_the_value(value: Any, found: str) -> None:
    with pytest.raises(ValueError, match="expected a number, not ") as refused:
        number_of(value)
    assert found in str(refused.value)


@pytest.mark.parametrize("value", ["1,90", " 1,90 "])
def test_a_decimal_comma_is_refused_with_the_cure(value: str) -> None:
    with pytest.raises(NotANumber, match=r"expected a number with a decimal point like 1\.90, not"):
        number_of(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_each_number_survives_as_text(number: float) -> None:
    assert number_of(repr(number)) == number == number_of(number)


def test_a_long_value_is_cut_in_a_message() -> None:
    assert shown("x" * 1000) == f'"{"x" * (MAX_SHOWN - 1)}…'
    assert shown({1, 2}) == "{1, 2}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_changes_nothing(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "games.json"
    file.write_bytes('{"team": "Malmö"}\r\n'.encode(encoding))
    assert read_json(file) == {"team": "Malmö"}
    assert read_text(file) == '{"team": "Malmö"}\r\n'


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_is_refused_with_the_cure(encoding: str) -> None:
    with pytest.raises(ValueError, match="save it as UTF-8"):
        decoded("[1]".encode(encoding))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b'"\xff"', "cannot be read: its byte 1 is no UTF-8 text; save it as UTF-8"),
        (b"\xff\xfe[\0]\0", "cannot be read: it is UTF-16 text; save it as UTF-8"),
        (b"{", "not JSON: Expecting property name"),
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_file_that_is_no_json_is_refused_with_its_name(tmp_path: Path, data: bytes, fault: str) -> None:
    file = tmp_path / "f.json"
    file.write_bytes(data)
    with pytest.raises(ConfigurationError, match=fault) as refused:
        read_json(file)
    assert str(refused.value).startswith(f"{file}: ")


def test_a_file_that_is_not_there_or_a_folder_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json: there is no such file; make it$"):
        read_text(tmp_path / "none.json", "; make it")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        read_text(tmp_path)


def test_one_endless_integer_does_not_take_the_document_along(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_text(json.dumps([1, 10**300]).replace("1,", "1" * 10_000 + ","))
    first, second = read_json(file)
    assert (first, second) == (math.inf, 10**300)


class _Inner(msgspec.Struct):
    number: float


class _Outer(msgspec.Struct):
    name: str
    inner: list[_Inner] = []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "name: this field is required"),
        ({"name": 7}, "name: expected str, got int"),
        ({"name": "x", "inner": [{}]}, "inner[0].number: this field is required"),
        ({"name": "x", "inner": [{"number": "1"}]}, "inner[0].number: expected float, got str"),
        (7, "expected object, got int"),
    ],
)
def test_a_fault_that_msgspec_found_begins_with_the_field(value: Any, text: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(value, _Outer)
    assert explained(refused.value) == text


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "games.json")
    with pytest.raises(ConfigurationError, match=r"games\.json: cannot be read: it is a pipe or a device; save it as"):
        read_json(tmp_path / "games.json")


def test_a_number_of_very_many_digits_and_a_deep_value_are_shown_in_words() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(10**5000) == "a number of very many digits"
    assert shown(deep) == "a value that is nested too deeply"
    while deep:
        deep = deep.pop()


def test_what_is_nested_too_deeply_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "games.json"
    file.write_bytes(b"[" * 100_000)
    with pytest.raises(ConfigurationError, match="not JSON: lists and objects are nested too deeply"):
        read_json(file)
