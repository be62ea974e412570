"""What an operator can do about a connection that is not there: one sentence for each cause, on either side."""

from typing import Final

from bettensor.bus.codes import CloseCode, RefusalCode
from bettensor.bus.events import Role

ON_MINER: Final[dict[str, str]] = {
    RefusalCode.WRONG_NETUID: "set netuid to the validator's subnet",
    RefusalCode.WRONG_RECEIVER: "another neuron answers at this address: correct the validator's hotkey or axon",
    RefusalCode.STALE: "this machine's clock or the validator's is wrong: compare both with NTP",
    RefusalCode.NOT_REGISTERED: "register this hotkey on the subnet; the validator sees a new one with its next sync",
    RefusalCode.BLACKLISTED: "the validator's operator has blacklisted this hotkey: ask them",
    RefusalCode.WRONG_SCHEME: "the validator's operator must name this hotkey's scheme in auth.schemes: ask them",
    RefusalCode.OWN_HOTKEY: "this miner uses the validator's hotkey: give it one of its own",
    RefusalCode.WEBSOCKET_DISABLED: "the validator has its WebSocket switched off: everything goes by HTTP meanwhile",
    RefusalCode.UNSUPPORTED_PROTOCOL: "the validator speaks another version of the protocol: update one of the two",
    RefusalCode.OVER_CAPACITY: "the validator is full: it will be tried again",
}
ON_VALIDATOR: Final[dict[str, str]] = {
    RefusalCode.WRONG_NETUID: "it is a miner of another subnet",
    RefusalCode.WRONG_RECEIVER: "it looks for another validator at this address",
    RefusalCode.STALE: "its clock or this machine's is wrong: compare with NTP",
    RefusalCode.NOT_REGISTERED: "it is not in the metagraph that this validator has: it must register on the subnet",
    RefusalCode.BLACKLISTED: "remove it from the blacklist to let it in",
    RefusalCode.WRONG_SCHEME: "if its key has that scheme, name it in auth.schemes, or as crypto in a metagraph file",
    RefusalCode.WEBSOCKET_DISABLED: "set websocket.enabled to let it in; it can use HTTP meanwhile",
    RefusalCode.OVER_CAPACITY: "raise actors.auth.max_connections, if the machine can take it",
}
AS_REFUSAL: Final[dict[int, str]] = {
    CloseCode.NOT_REGISTERED: RefusalCode.NOT_REGISTERED,
    CloseCode.BLACKLISTED: RefusalCode.BLACKLISTED,
    CloseCode.WRONG_SCHEME: RefusalCode.WRONG_SCHEME,
    CloseCode.OVER_CAPACITY: RefusalCode.OVER_CAPACITY,
}
"""What a close says that a refusal says too."""
DISABLED: Final = "set websocket.enabled on this miner to use the WebSocket again"
HTTP_ALONE: Final = (
    "its websocket.enabled is false, or something between lets HTTP through alone; its own log says which"
)
UNREGISTERED: Final = "register it on the subnet; where the metagraph is a file, add it there"
WRONG_ENDPOINT: Final = (
    "correct axon.port, axon.external_ip and axon.external_port, or the metagraph where it is a file"
)
NO_ENDPOINT: Final = "the metagraph does not say where it is"
ANNOUNCE: Final = "its operator must set axon.external_ip"
NO_ANSWER: Final = "is the validator running, is this its address and port, and does no firewall stand between?"


def cure_for_miner(status: int | None, code: str) -> str:
    """What to do about a dial that failed with this HTTP status and refusal code, if something can be done."""
    return NO_ANSWER if status is None else ON_MINER.get(code, "")


def cure_for_close(role: Role, code: int) -> str:
    """What to do about a session that was closed with ``code``, if something can be done."""
    cures = ON_VALIDATOR if role == "validator" else ON_MINER
    return cures.get(AS_REFUSAL.get(code, ""), "")
