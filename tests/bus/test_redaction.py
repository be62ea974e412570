"""What may be a secret is left out, however deep it is, and what is none stays."""

from typing import Any

import pytest

from bettensor.bus.redaction import without_keys, without_secrets

HIDDEN = "(not recorded)"


@pytest.mark.parametrize(
    ("settings", "recorded"),
    [
        ({"api_key": "x", "path": "y", "a": [1]}, {"api_key": HIDDEN, "path": "y", "a": [1]}),
        ({None: "x", 7: "y", b"token": "z"}, {None: "x", 7: "y", b"token": HIDDEN}),
        ({"scores": {"TOKEN": "x"}}, {"scores": {"TOKEN": HIDDEN}}),
        ({"tokens_per_second": 3, "private": True}, {"tokens_per_second": 3, "private": True}),
        ({"api-keys": ["x", "y"]}, {"api-keys": [HIDDEN, HIDDEN]}),
        ({"credentials": {"user": "x", "more": ("y",)}}, {"credentials": {"user": HIDDEN, "more": [HIDDEN]}}),
        ({"feeds": ({"password": "x"}, {"name": "y"})}, {"feeds": [{"password": HIDDEN}, {"name": "y"}]}),
        ({"command": ["run", "--api-key", "x", "-v"]}, {"command": ["run", "--api-key", HIDDEN, "-v"]}),
        ({"command": ["A_TOKEN=x", "--secret=y=z"]}, {"command": [f"A_TOKEN={HIDDEN}", f"--secret={HIDDEN}"]}),
        (
            {"command": ["run", "--api=x", "--key", "x", "-k", "x"]},
            {"command": ["run", f"--api={HIDDEN}", "--key", HIDDEN, "-k", HIDDEN]},
        ),
        (
            {"command": ["python", "-u", "model.py", "-m", "mine", "--games", "5", "--fast=true", "--verbose", "-q"]},
            {"command": ["python", "-u", "model.py", "-m", "mine", "--games", "5", "--fast=true", "--verbose", "-q"]},
        ),
        ({"command": ["run", "--token", "--odd", "-p", "7"]}, {"command": ["run", "--token", HIDDEN, "-p", "7"]}),
        ({"command": ["run", "-H", "Authorization: x", 5, ["a"]]}, {"command": ["run", "-H", HIDDEN, 5, ["a"]]}),
        ({"node": "wss://me:x@node:9944/x?y=z"}, {"node": "wss://node:9944/..."}),
        ({"node": "ws://127.0.0.1:9944", "file": "a/b?c"}, {"node": "ws://127.0.0.1:9944", "file": "a/b?c"}),
    ],
    ids=lambda value: next(iter(value)),
)
def test_settings(settings: dict[Any, Any], recorded: dict[Any, Any]) -> None:
    assert without_secrets(settings) == recorded


def test_addresses_in_a_text() -> None:
    text = "cannot reach wss://key@node.example/v3/KEY, nor https://here:1?k=1 and http://there"
    assert without_keys(text) == "cannot reach wss://node.example/... nor https://here:1/... and http://there"
