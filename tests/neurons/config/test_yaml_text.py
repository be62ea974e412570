"""YAML is read strictly, and what is wrong with a file is told with its name and line."""

import os
import re
from pathlib import Path

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.config.yaml_text import MOST_BYTES, parse_yaml, read_yaml


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


def billion_laughs(levels: int = 12, width: int = 10) -> str:
    """A text of a few hundred bytes that stands for ``width ** levels`` values."""
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[" * 3000 + "]" * 3000, "line 1: lists and mappings are nested too deeply: more than 50"),
        ("[" * 500_000, "line 1: lists and mappings are nested too deeply: more than 50"),
        ("".join(f"{' ' * n}k:\n" for n in range(60)), "nested too deeply: more than 50"),
        (billion_laughs(), "line 6: more than 100000 keys and values, each as often as an alias (*) repeats it"),
        ("&a {k: *a}", "line 1: a list or mapping contains itself"),
        ("- &a [1, *a]", "line 1: a list or mapping contains itself"),
        ("[" + "1," * 100_000 + "]", "more than 100000 keys and values"),
        ("? [a, b]\n: c", "line 1: a key must be a word, not a list or a mapping"),
        ("a: 1\nb: 2026-13-01", "line 2: '2026-13-01' is no value: month must be in 1..12"),
        ("a: !!int x", "line 1: 'x' is no value: invalid literal for int"),
        ("a: !!float y", "line 1: 'y' is no value: could not convert"),
        ("a: !!bool 7", "line 1: '7' is no value"),
        (r'a: "x\udcad"', "line 1: half of a surrogate pair, which is no character"),
        ("a: !!timestamp today", "line 1: 'today' is no value"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: could not determine a constructor for the tag"),
        ("a: " + ":".join(["1"] * 199) + ".0", "is no value: int too large to convert to float"),
    ],
    ids=lambda value: value[:20],
)
def test_what_would_take_memory_or_time_is_refused_with_its_line(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=r"^not YAML: ") as refused:
        parse_yaml(text)
    assert fault in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    file = tmp_path / "neuron.yaml"
    file.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(
        ConfigurationError, match=r"neuron\.yaml: cannot be read: it has more than 1 MiB; make it smaller"
    ):
        read_yaml(file)
    assert read_yaml(file, most=2 * MOST_BYTES) == {}


@pytest.mark.parametrize("special", ["pipe", "/dev/zero"])
def test_a_file_without_end_is_no_configuration(tmp_path: Path, special: str) -> None:
    file = tmp_path / special
    if special == "pipe":
        os.mkfifo(file)
    with pytest.raises(ConfigurationError, match="it is a pipe or a device; save it as a file"):
        read_yaml(file)


@pytest.mark.parametrize("name", ["a" * 5000, "null\0byte", "a/" * 3000])
def test_a_name_that_no_file_has_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: "):
        read_yaml(Path(name))


def test_an_alias_that_multiplies_little_is_read() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: *x") == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}
    assert parse_yaml("&a x") == "x"


def test_many_keys_take_no_time_for_each_pair_of_them() -> None:
    many = parse_yaml("\n".join(f"k{n}: 1" for n in range(10_000)))
    assert len(many) == 10_000


def test_a_number_of_more_digits_than_python_reads_stays_a_text() -> None:
    sexagesimal = ":".join(["59"] * 5000)
    assert parse_yaml("{uid: " + "9" * 5000 + "}") == {"uid": "9" * 5000}
    assert parse_yaml(f"uid: {sexagesimal}") == {"uid": sexagesimal}


def test_all_yaml_is_read_here() -> None:
    root = Path(__file__).parents[3]
    readers = {
        file.relative_to(root).as_posix()
        for folder in ("bus", "actors", "neurons")
        for file in (root / folder).rglob("*.py")
        if re.search(r"yaml\.\w*load", file.read_text())
    }
    assert readers == {"neurons/config/yaml_text.py"}
