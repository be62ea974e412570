"""What the demo tells about a fault: when the neuron was back, and what became of the predictions that waited."""

import pytest

from bettensor.neurons.cli.demo_faults import DemoFault


def test_a_fault_lasts_until_its_neuron_works_again() -> None:
    fault = DemoFault("validator", "killed", at=8.1)
    assert not fault.watch(8.3, works=False, waiting=12)
    assert not fault.watch(9.9, works=False, waiting=37)
    assert fault.recovery() == "not back"
    assert fault.watch(10.0, works=True, waiting=20)
    assert not fault.watch(12.0, works=True, waiting=90), "what comes later has other causes"
    assert fault.recovery() == "back after 1.9 s"
    assert fault.as_json() == {
        "neuron": "validator",
        "fault": "killed",
        "at_s": 8.1,
        "back_after_s": 1.9,
        "waited": 37,
    }


@pytest.mark.parametrize(
    ("waited", "missing", "told"),
    [(0, 0, "none"), (37, 0, "37, all judged"), (37, 2, "37, 2 without a verdict")],
)
def test_what_became_of_the_predictions_that_waited(waited: int, missing: int, told: str) -> None:
    fault = DemoFault("miner-1", "network cut", at=1.0)
    fault.watch(2.0, works=True, waiting=waited)
    assert fault.verdicts(missing) == told


def test_a_miner_without_its_websocket_goes_on_by_http() -> None:
    fault = DemoFault("miner-1", "WebSocket off", at=1.0)
    assert fault.as_json()["back_after_s"] is None
    fault.watch(1.5, works=True, waiting=0)
    assert fault.recovery() == "by HTTP after 0.5 s"
