"""A fault is told once, and again when it comes back."""

from bettensor.neurons.models.faults import MAX_TOLD, FaultRounds


def test_a_fault_is_new_once_for_as_long_as_it_stays() -> None:
    faults = FaultRounds()
    for new in (True, False, False):
        faults.begin()
        assert faults.is_new("semicolons") is new
        assert not faults.is_new("semicolons")


def test_a_fault_that_was_gone_for_a_round_is_new_again() -> None:
    faults = FaultRounds()
    assert faults.is_new("semicolons")
    faults.begin()
    faults.begin()
    assert faults.is_new("semicolons")


def test_of_one_round_not_more_faults_are_told_than_an_operator_can_read() -> None:
    faults = FaultRounds()
    assert sum(faults.is_new(f"line {number}") for number in range(2 * MAX_TOLD)) == MAX_TOLD
