"""What is written of an error that nothing caught: no value of a variable, and no secret that can be recognised."""

import subprocess
import sys
import threading

import pytest

from bettensor.neurons.system.crashes import hide_secrets

URL = "wss://me:PLANTED@node.example/v3/PLANTED?token=PLANTED"
CRASHES = {
    "main": "fail()",
    "thread": "threading.Thread(target=fail, name='worker').start()",
    "task": "asyncio.run(leave_a_task())",
}


@pytest.mark.parametrize("where", CRASHES)
def test_a_crash_shows_no_secret(where: str) -> None:
    program = f"""
import asyncio, gc, sys, threading
from bettensor.neurons.system.crashes import hide_secrets
hide_secrets()
def fail():
    key = sys.argv[1]
    raise RuntimeError(f"{{sys.argv[2]}}: api_key={{key}}")
async def leave_a_task():
    async def work(): fail()
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    del task
    gc.collect()
{CRASHES[where]}
"""
    command = [sys.executable, "-c", program, "PLANTED", URL]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "RuntimeError: wss://node.example/...: api_key=(not recorded)" in ended.stderr
    assert "PLANTED" not in ended.stdout + ended.stderr
    assert (where == "thread") == ("Exception in thread worker:\n" in ended.stderr)
    assert ended.returncode == (1 if where == "main" else 0)


def test_a_program_keeps_its_own_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = [lambda *_: None, lambda _: None]
    monkeypatch.setattr(sys, "excepthook", mine[0])
    monkeypatch.setattr(threading, "excepthook", mine[1])
    hide_secrets()
    assert [sys.excepthook, threading.excepthook] == mine
