"""What may be a secret is left out, however deep it is, and what is none stays."""

from typing import Any

import pytest

from bettensor.bus.redaction import is_whole_address, names_an_address, without_keys, without_named, without_secrets

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


@pytest.mark.parametrize("key", ["subtensor.chain_endpoint", "network", "subtensor", "feed.url", "API_URL", "x.uri"])
def test_a_key_whose_value_is_an_address(key: str) -> None:
    assert names_an_address(key)
    assert not names_an_address(f"{key}s_per_second")


def test_an_address_is_whole_if_its_host_can_be_told_from_the_rest() -> None:
    for address in ("ws://127.0.0.1:9944", "wss://me:X@node.example/v3/X?a=X#X", "http://[::1]:1/X", "wss://node"):
        assert is_whole_address(address)
        assert "X" not in without_keys(address)
    for other in ("node/X", "wss:/node/X", "wss//node/X", "me:X@node", "wss://node/a X", "wss://node'X", "wss://X@"):
        assert not is_whole_address(other)


def test_addresses_in_a_text() -> None:
    text = "cannot reach wss://key@node.example/v3/KEY, nor https://here:1?k=1 and http://there"
    assert without_keys(text) == "cannot reach wss://node.example/..., nor https://here:1/... and http://there"


@pytest.mark.parametrize(
    ("address", "cut"),
    [
        ("wss://me:X@node:1/X?a=X#X", "wss://node:1/..."),
        ("'https://node/X'", "'https://node/...'"),
        ("(https://node?X),", "(https://node/...),"),
        ("https://me:X@X@node/", "https://node/"),
        ("https://me:X/X@node/", "https://..."),
        ("https://me:X?X#X@node", "https://..."),
        ("http://[::1]:8091/a", "http://[::1]:8091/..."),
        ("{'https://node/X', 'b'}", "{'https://node/...', 'b'}"),
        ("postgresql+psycopg://me:X@db/mine", "postgresql+psycopg://db/..."),
    ],
)
def test_of_an_address_scheme_and_host_are_kept(address: str, cut: str) -> None:
    assert without_keys(address) == without_keys(cut) == cut


@pytest.mark.parametrize(
    "text",
    [
        "api_key=X", "API_KEY='X X'", 'token: "X X"', "{'password': 'X X', ", "Authorization: Bearer X", "Cookie: X",
        "--auth-token X", "headers['authorization'] = 'X'", "bearer X", "Basic X", "my_secret_2 = X", "(token=X)",
        "AWS_SECRET_ACCESS_KEY=X", "x-api-key: X", "a=1&access_key=X&b=2", "env TOKEN=X model.py",
    ],
)  # fmt: skip
def test_what_stands_behind_the_name_of_a_secret_is_hidden(text: str) -> None:
    assert "X" not in without_named(text)
    assert HIDDEN in without_named(text)
    assert without_named(without_named(text)) == without_named(text)


@pytest.mark.parametrize("text", ["", "KeyError: 'odds'", "3 tokens per second", "price=1.9, team: A", "a basis, A"])
def test_other_words_stay(text: str) -> None:
    assert without_named(text) == text


def test_texts_are_read_in_time_that_grows_with_their_length() -> None:
    for piece in ("a", "a.", "a-", "token", "token ", "--", "://", "a://", "a://b/'", "bearer ", "'", "@"):
        without_named(piece * (200_000 // len(piece)))  # a pattern that tries all ways would take minutes
