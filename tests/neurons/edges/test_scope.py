"""What is read of a request's scope."""

from typing import Any

import pytest

from bettensor.neurons.edges.scope import Scope, headers_of, remote_of, target_of


@pytest.mark.parametrize(
    ("query", "target"),
    [(b"", "/ws"), (b"netuid=30", "/ws?netuid=30"), (b"a=%2f&b=\xff", "/ws?a=%2f&b=\xff")],
)
def test_the_target_is_as_it_was_sent(query: bytes, target: str) -> None:
    assert target_of({"raw_path": b"/ws", "query_string": query}) == target


def test_headers_of_one_name_are_one_with_commas() -> None:
    scope: Scope = {"headers": [(b"A", b"1"), (b"b", b"\xe9"), (b"a", b"2")]}
    assert headers_of(scope) == {"a": "1,2", "b": "\xe9"}


@pytest.mark.parametrize(("client", "remote"), [(("192.0.2.1", 5), "192.0.2.1"), (None, "")])
def test_the_remote_is_the_peers_address(client: Any, remote: str) -> None:
    assert remote_of({"client": client}) == remote
