"""What of a request becomes an event: enough to decide, prove and trace it, and no secret of a stranger."""

from hashlib import sha256
from typing import Any

import pytest

from bettensor.bus.events import NO_BODY, HttpRequestReceived, QueryReceived
from bettensor.bus.identifiers import ConnectionId
from bettensor.bus.redaction import HIDDEN
from bettensor.bus.synapse import BODY_HASH
from bettensor.neurons.edges.incoming import MAX_PAIRS, MAX_PATH, claimed_by, query_of, recorded_target, request_of

HOTKEY = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
SIGNED = {
    "x-bittensor-version": "1",
    "x-bittensor-hotkey": HOTKEY,
    "x-bittensor-receiver": HOTKEY,
    "x-bittensor-nonce": "1752076800000000000",
    "x-bittensor-crypto": "ed25519",
    "x-bittensor-signature": "0x" + "aB" * 64,
}
EPOCH = "0123456789abcdef" * 2


def scope(
    target: str = "/ws?netuid=30", headers: dict[str, str] | list[tuple[str, str]] | None = None, method: str = "GET"
) -> dict[str, Any]:
    path, _, query = target.partition("?")
    pairs = headers.items() if isinstance(headers, dict) else headers or ()
    return {
        "method": method,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
        "client": ("10.0.0.1", 5),
    }


def event(*arguments: Any, body: bytes = b"", **named: Any) -> HttpRequestReceived:
    return request_of(scope(*arguments, **named), ConnectionId(1), body, "5" * 32)


@pytest.mark.parametrize(
    "target",
    [
        "/ws?netuid=30",
        "/ws",
        "/ws/health",
        f"/games?netuid=30&epoch={EPOCH}&offset=7",
        f"/ws?offset=7&epoch={EPOCH}&netuid=30&encoding=deflate",
        "/ws?netuid=30&encoding=zstd,deflate",
        "/ws?netuid=%33%30",
        "/ws?%6eetuid=30",
        "/ws?netuid=30&netuid=31",
        "/nothing",
    ],
)
def test_what_our_clients_send_is_there_as_they_sent_it(target: str) -> None:
    request = event(target, SIGNED)
    assert (request.target, request.headers, request.is_whole) == (target, tuple(SIGNED.items()), True)
    assert (request.method, request.remote, request.digest, request.size) == ("GET", "10.0.0.1", NO_BODY, 0)


@pytest.mark.parametrize(
    ("target", "recorded"),
    [
        ("/ws?netuid=30&token=SECRET", f"/ws?netuid=30&other={HIDDEN}"),
        ("/ws?SECRET&netuid=30", f"/ws?netuid=30&other={HIDDEN}"),
        ("/ws?SECRET=1&x=2&netuid=30", f"/ws?netuid=30&other={HIDDEN}"),
        ("/ws?netuid=SECRET", f"/ws?netuid={HIDDEN}"),
        ("/ws?netuid=30&epoch=SECRET&offset=SECRET", f"/ws?netuid=30&epoch={HIDDEN}&offset={HIDDEN}"),
        (f"/ws?netuid=30&epoch={EPOCH}%0A&offset=1", f"/ws?netuid=30&epoch={HIDDEN}&offset=1"),
        ("/ws?netuid=30&encoding=SECRET,deflate", f"/ws?netuid=30&encoding=deflate,{HIDDEN}"),
        ("/ws?netuid=30&token=SECRET&token=SECRET", f"/ws?netuid=30&other={HIDDEN}&other={HIDDEN}"),
        ("/ws?netuid=30&netuid=SECRET&netuid=SECRET", f"/ws?netuid=30&netuid={HIDDEN}"),
        ("/ws?netuid=30&", "/ws?netuid=30"),
        ("/ws?", "/ws?"),
        ("/" + "a" * 99 + "SECRET", "/" + "a" * (MAX_PATH - 1)),
    ],
)
def test_of_a_target_nothing_else_is_kept_and_a_key_that_is_named_twice_still_is(target: str, recorded: str) -> None:
    assert recorded_target(target) == recorded


def test_a_target_that_is_not_all_that_was_sent_says_so() -> None:
    assert not event("/ws?netuid=30&token=SECRET").is_whole
    assert not event("/" + "a" * 99).is_whole


def test_a_query_of_too_many_pairs_is_recorded_like_one_that_names_a_key_twice() -> None:
    most = "&".join(f"k{number}" for number in range(MAX_PAIRS - 1))
    assert recorded_target(f"/ws?netuid=30&{most}") == f"/ws?netuid=30&other={HIDDEN}"
    assert recorded_target(f"/ws?netuid=30&{most}&one") == f"/ws?other={HIDDEN}&other={HIDDEN}"


@pytest.mark.parametrize(
    "name",
    ["authorization", "cookie", "user-agent", "x-forwarded-for", "host", "x-bittensor-extra", "x-my-header", "SECRET"],
)
def test_a_header_that_nobody_needs_is_not_kept(name: str) -> None:
    assert event("/ws", {name: "SECRET"}).headers == ()


@pytest.mark.parametrize("name", [*SIGNED, "sec-websocket-protocol", "sec-websocket-key", "bt_header_dendrite_hotkey"])
@pytest.mark.parametrize("value", ["SECRET", "", "1" * 5000, HOTKEY + "x" * 10, "x\xff", "0x" + "aB" * 64 + "c"])
def test_a_value_that_has_not_its_form_is_only_seen_to_be_there(name: str, value: str) -> None:
    assert event("/ws", {name.upper(): value}).headers == ((name, HIDDEN),)


@pytest.mark.parametrize(
    ("offered", "recorded"),
    [
        ("bettensor.v1", "bettensor.v1"),
        ("chat, bettensor.v1", f"bettensor.v1,{HIDDEN}"),
        ("bettensor.v1,SECRET", f"bettensor.v1,{HIDDEN}"),
    ],
)
def test_of_the_subprotocols_ours_is_kept(offered: str, recorded: str) -> None:
    assert event("/ws", {"sec-websocket-protocol": offered}).headers == (("sec-websocket-protocol", recorded),)


def test_a_header_that_is_given_twice_is_there_twice_and_not_more_often() -> None:
    headers = [("x-bittensor-nonce", str(number)) for number in range(5)]
    assert event("/ws", headers).headers == tuple(headers[:2])


def test_a_method_that_is_none_is_hidden() -> None:
    assert event(method="DELETE").method == "DELETE"
    assert event(method="SECRET").method == HIDDEN


def test_of_a_body_there_are_digest_and_size() -> None:
    request = event("/predictions?netuid=30", SIGNED, "POST", body=b"SECRET")
    assert (request.digest, request.size, request.body) == (sha256(b"SECRET").hexdigest(), 6, b"")


def test_who_is_claimed_is_an_address_or_nobody() -> None:
    assert claimed_by(scope(headers={"X-Bittensor-Hotkey": HOTKEY})) == HOTKEY
    assert claimed_by(scope(headers={"x-bittensor-hotkey": "SECRET"})) is None
    assert claimed_by(scope()) is None


ASKED = {
    "content-length": "2",
    "bt_header_axon_hotkey": HOTKEY,
    "bt_header_dendrite_nonce": "1752076800000000000",
    "bt_header_dendrite_uuid": "dd75b382-eafc-11f1-83cb-02fc00000001",
    "bt_header_dendrite_hotkey": HOTKEY,
    "bt_header_dendrite_signature": "0x" + "aB" * 64,
    "computed_body_hash": BODY_HASH,
}
"""What is judged of the head of a question to a miner."""
SEEN = [
    *("content-encoding", "transfer-encoding", "bt_header_axon_ip", "bt_header_axon_port"),
    *("bt_header_dendrite_ip", "bt_header_dendrite_version"),
]
"""Headers of which it only counts that they are there."""


def query(
    target: str = "/GameData", headers: dict[str, str] | list[tuple[str, str]] | None = None, method: str = "POST"
) -> QueryReceived:
    return query_of(scope(target, headers, method), ConnectionId(1))


def test_what_existing_validators_send_to_a_miner_is_there_as_they_sent_it() -> None:
    asked = query("/GameData", ASKED)
    assert (asked.method, asked.target, asked.headers) == ("POST", "/GameData", tuple(ASKED.items()))
    assert asked.remote == "10.0.0.1"


@pytest.mark.parametrize("name", ["authorization", "x-forwarded-for", "name", "timeout", "bt_header_mine", "SECRET"])
def test_a_header_that_a_miner_does_not_judge_is_not_kept(name: str) -> None:
    assert query("/GameData", {name: "SECRET"}).headers == ()


@pytest.mark.parametrize("name", [*ASKED, *SEEN])
def test_a_value_that_a_miner_cannot_judge_is_only_seen_to_be_there(name: str) -> None:
    for value in ("SECRET WORD", "1" * 5000, "chunked"):
        if (name, value) != ("bt_header_dendrite_uuid", "chunked"):
            assert query("/GameData", [(name.upper(), value)] * 3).headers == ((name, HIDDEN),) * 2


def test_of_a_question_to_a_miner_neither_query_nor_long_path_nor_odd_method_is_kept() -> None:
    assert query("/GameData?SECRET=SECRET").target == f"/GameData?other={HIDDEN}"
    assert query("/" + "a" * 99 + "SECRET").target == "/" + "a" * (MAX_PATH - 1)
    assert query(method="SECRET").method == HIDDEN
