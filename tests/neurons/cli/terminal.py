"""Standard output that passes for a terminal of so many columns."""

import sys

import pytest


def show_on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """For the rest of the test; call it after the fixture that captures standard output."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, value in {"COLUMNS": str(columns), "LINES": "24", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
