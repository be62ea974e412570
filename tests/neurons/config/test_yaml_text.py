"""YAML is read strictly, and what is wrong with a file is told with its name and line."""

from pathlib import Path

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.config.yaml_text import parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[", "neuron.yaml: not YAML: line 1: "),
        ("a: {b: 1\nc: 2", "neuron.yaml: not YAML: line 2: expected ',' or '}', but got ':'"),
        ("a: \x07", "neuron.yaml: not YAML: unacceptable character"),
        ("- a", "neuron.yaml: expected keys with values, but it is a list"),
        ("5", "neuron.yaml: expected keys with values, but it is 5"),
        ("a: 1\na: 2", "neuron.yaml: not YAML: line 2: the key 'a' occurs twice"),
        (
            "a: &a {x: 1}\nb: {<<: *a}",
            "neuron.yaml: not YAML: line 2: the merge key << is not supported; write the keys out",
        ),
    ],
)
def test_a_file_without_keys_and_values_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "neuron.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        read_yaml(file)
    assert fault in str(refused.value)


def test_an_empty_file_has_no_keys(tmp_path: Path) -> None:
    file = tmp_path / "neuron.yaml"
    file.write_text("# netuid: 30")
    assert read_yaml(file) == {}


def test_a_file_that_cannot_be_read_is_told_with_its_name_once(tmp_path: Path) -> None:
    absent = tmp_path / "absent.yaml"
    with pytest.raises(ConfigurationError) as refused:
        read_yaml(absent, "; make one")
    assert str(refused.value) == f"{absent}: there is no such file; make one"
    with pytest.raises(ConfigurationError) as refused:
        read_yaml(tmp_path)
    assert str(refused.value) == f"{tmp_path}: cannot be read: Is a directory"
    absent.write_bytes(b"a: \xff")
    with pytest.raises(ConfigurationError, match="cannot be read: its byte 3 is no UTF-8 text"):
        read_yaml(absent)


def test_a_text_is_read_alike() -> None:
    assert parse_yaml("[a, 1]") == ["a", 1]
    with pytest.raises(ValueError, match="not YAML: line 1: "):
        parse_yaml("{")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_may_come_from_any_editor(tmp_path: Path, encoding: str, end: str) -> None:
    file = tmp_path / "neuron.yaml"
    file.write_bytes(f"netuid: 30{end}wallet: {{name: demo}}{end}".encode(encoding))
    assert read_yaml(file) == {"netuid": 30, "wallet": {"name": "demo"}}


def test_utf_16_is_refused_with_the_cure(tmp_path: Path) -> None:
    file = tmp_path / "neuron.yaml"
    file.write_bytes("netuid: 30".encode("utf-16"))
    with pytest.raises(ConfigurationError, match=r"neuron\.yaml: cannot be read: it is UTF-16 text; save it as UTF-8"):
        read_yaml(file)


def test_what_is_nested_too_deeply_is_refused_in_a_line() -> None:
    with pytest.raises(ValueError, match="not YAML: lists and mappings are nested too deeply"):
        parse_yaml("[" * 3000 + "]" * 3000)


def test_a_number_of_more_digits_than_python_reads_stays_a_text() -> None:
    assert parse_yaml("{uid: " + "9" * 5000 + "}") == {"uid": "9" * 5000}
