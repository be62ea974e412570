"""A port that the system refuses is told with its cure."""

import errno
import os
import socket

import pytest

from bettensor.neurons.system.ports import cure_for_port, listen_on

ELSEWHERE = "192.0.2.1"
"""An address that no machine has (RFC 5737)."""


def refusal(ip: str, port: int, words: str) -> OSError:
    with pytest.raises(OSError, match=words) as refused:
        listen_on(ip, port, 1)
    return refused.value


def test_a_port_is_listened_on_at_once() -> None:
    with listen_on("127.0.0.1", 0, 1) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            pass
        error = refusal("127.0.0.1", port, "already in use")
    told = cure_for_port("127.0.0.1", port, error)
    assert told == f"stop the process that uses port {port} (ss -ltnp shows it), or set another axon.port"


def test_the_address_of_another_machine_is_announced_and_not_bound() -> None:
    told = cure_for_port(ELSEWHERE, 8091, refusal(ELSEWHERE, 8091, "Cannot assign"))
    assert told == (
        "192.0.2.1 is not an address of this machine: set axon.ip to 0.0.0.0 (all addresses), and announce 192.0.2.1 "
        "by axon.external_ip"
    )


@pytest.mark.parametrize(
    ("ip", "error", "told"),
    [
        ("0.0.0.0", OSError(errno.EACCES, "Permission denied"), "below 1024"),  # noqa: S104 - root is not refused
        ("2001:db8::7", OSError(errno.EADDRNOTAVAIL, "Cannot assign"), "set axon.ip to :: (all addresses)"),
        ("::", OSError(errno.EAFNOSUPPORT, "Address family not supported"), "set axon.ip to 0.0.0.0"),
        ("my.house", socket.gaierror(-2, "Name or service not known"), "must be an IP address of this machine"),
    ],
)
def test_what_cannot_be_tried_everywhere_has_its_cure(ip: str, error: OSError, told: str) -> None:
    assert told in cure_for_port(ip, 80, error)


def test_another_fault_of_the_system_has_no_cure() -> None:
    assert cure_for_port("0.0.0.0", 80, OSError(errno.EMFILE, os.strerror(errno.EMFILE))) == ""  # noqa: S104
