"""Signals are handled within a block, and after it as before."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from bettensor.neurons.system.signals import handling, noted_signals


def test_a_block_that_ends_in_order_is_interrupted_once_and_cleans_up_undisturbed() -> None:
    code = """
import os, signal
from bettensor.neurons.system.signals import ends_in_order
signal.signal(signal.SIGHUP, signal.SIG_IGN)
for first in (signal.SIGINT, signal.SIGTERM):
    try:
        with ends_in_order():
            os.kill(os.getpid(), signal.SIGHUP)  # ignored before, as by nohup, and still
            print("works", flush=True)
            try:
                os.kill(os.getpid(), first)
            finally:
                for another in (signal.SIGINT, signal.SIGTERM):
                    os.kill(os.getpid(), another)
                print("cleaned up", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-uc", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["works", "cleaned up", "interrupted"] * 2
    assert done.returncode == -signal.SIGTERM, "its handler is there again"


def test_an_interruption_that_python_swallows_comes_again() -> None:
    """As in a callback around a fork: a demo that was told to end while it started a process went on for ever."""
    code = """
import os, signal, time
from bettensor.neurons.system.signals import ends_in_order
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
try:
    with ends_in_order():
        if os.fork() == 0:
            os._exit(0)
        print("swallowed", flush=True)
        time.sleep(30)
        print("lost", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
class Odd:
    def __del__(self):
        raise ValueError("of something else")
with ends_in_order():
    Odd()
"""
    done = subprocess.run([sys.executable, "-uc", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["swallowed", "interrupted"]
    assert "KeyboardInterrupt" not in done.stderr
    assert "ValueError: of something else" in done.stderr


@pytest.mark.parametrize("former", [signal.SIG_DFL, lambda *_: None])
def test_after_the_block_the_former_handler_is_there_again(former: signal.Handlers) -> None:
    outer = signal.signal(signal.SIGUSR1, former)
    came: list[int] = []
    try:
        with suppress(RuntimeError), handling([signal.SIGUSR1], lambda number, _: came.append(number)):
            os.kill(os.getpid(), signal.SIGUSR1)
            raise RuntimeError
        assert signal.getsignal(signal.SIGUSR1) is former
    finally:
        signal.signal(signal.SIGUSR1, outer)
    assert came == [signal.SIGUSR1]


def test_signals_are_noted_but_for_those_that_were_ignored() -> None:
    outer = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with noted_signals() as came:
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):
                os.kill(os.getpid(), number)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, outer)
    assert came == [signal.SIGTERM, signal.SIGTERM]
