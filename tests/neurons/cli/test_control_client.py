"""Asking a running neuron: which one is meant, what it says, and what is said if it says nothing."""

from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.cli.control_client import ControlRefused, NotRunning, ask, find_state_dir
from tests.neurons.cli.answering import answering, listening_at

STATUS = {"ask": "status"}


def test_a_question_gets_its_answer(tmp_path: Path) -> None:
    with answering(tmp_path, lambda question: {"about": question["ask"]}) as questions:
        assert ask(tmp_path, STATUS) == {"about": "status"}
        assert questions == [STATUS]


def test_an_error_is_told_in_the_words_of_the_neuron(tmp_path: Path) -> None:
    with answering(tmp_path, lambda _: {"error": "this is a validator"}), pytest.raises(ControlRefused) as refused:
        ask(tmp_path, STATUS)
    assert str(refused.value) == "this is a validator"


@pytest.mark.parametrize("answer", [b"", b'{"role": "vali'])
def test_a_neuron_that_ends_while_it_answers_has_not_answered(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, lambda _: answer), pytest.raises(NotRunning, match="stopped before it answered"):
        ask(tmp_path, STATUS)


def test_a_neuron_that_says_nothing_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with listening_at(tmp_path), pytest.raises(NotRunning, match=r"does not answer within 0.05 s"):
        ask(tmp_path, STATUS, patience=0.05)


def left_behind(state_dir: Path) -> None:
    """A socket that nobody listens to, as a neuron leaves it that is killed."""
    with listening_at(state_dir):
        pass


def test_where_no_neuron_runs_it_is_said_how_to_start_one(tmp_path: Path) -> None:
    for state_dir in (tmp_path, tmp_path / "absent"):
        with pytest.raises(
            NotRunning, match=rf"no neuron is running in {state_dir}; start it with `bettensor validator"
        ):
            ask(state_dir, STATUS)
    left_behind(tmp_path)
    with pytest.raises(NotRunning, match="no neuron is running in"):
        ask(tmp_path, STATUS)


# --- which neuron is meant


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".bettensor"


def neuron_of(role: str) -> Any:
    return lambda _: {"role": role}


def test_a_folder_that_is_named_is_meant_whether_or_not_a_neuron_runs_there(home: Path) -> None:
    assert find_state_dir(Path("~/.bettensor/x"), Path("not.yaml")) == home / "x"


def test_a_configuration_names_its_folder(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "miner.yaml"
    config.write_text("{role: miner, netuid: 30, state_dir: here, metagraph: {static: metagraph.yaml}}")
    assert find_state_dir(None, config) == tmp_path / "here"
    assert not home.exists()
    with pytest.raises(ConfigurationError, match=r"absent\.yaml"):
        find_state_dir(None, tmp_path / "absent.yaml")


def test_if_nothing_is_named_the_one_neuron_that_runs_is_meant(home: Path) -> None:
    (home / "dead").mkdir(parents=True)
    left_behind(home / "dead")
    with answering(home / "lively", neuron_of("miner")):
        assert find_state_dir(None, None) == home / "lively"


def test_of_two_neurons_the_one_of_the_role_is_meant(home: Path) -> None:
    with answering(home / "a", neuron_of("miner")), answering(home / "b", neuron_of("validator")):
        assert find_state_dir(None, None, "validator") == home / "b"
        with pytest.raises(NotRunning, match=rf"2 neurons are running: {home}/a, {home}/b; name one with --state-dir"):
            find_state_dir(None, None)


def test_if_none_runs_its_role_is_named(home: Path) -> None:
    for role, kind in ((None, "neuron"), ("miner", "miner")):
        with pytest.raises(NotRunning, match=f"no {kind} whose state_dir is inside ~/.bettensor is running"):
            find_state_dir(None, None, role)
    with (
        answering(home / "b", neuron_of("validator")),
        pytest.raises(NotRunning, match="no miner whose state_dir is inside"),
    ):
        find_state_dir(None, None, "miner")
