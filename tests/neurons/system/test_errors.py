"""What a later start may not meet, and what is to be corrected."""

import errno
import os
import socket

import pytest

from bettensor.bus.errors import ConfigurationError, Unavailable
from bettensor.neurons.system.errors import start_fault


@pytest.mark.parametrize(
    "number", [errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EIO, errno.ENOENT]
)
def test_what_may_pass_is_unavailable(number: int) -> None:
    fault = start_fault("what, where", OSError(number, os.strerror(number)))
    assert type(fault) is Unavailable
    assert str(fault) == "what, where"


@pytest.mark.parametrize(
    "number",
    [
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
        *(errno.ENAMETOOLONG, errno.ELOOP, errno.EAFNOSUPPORT),
    ],
)
def test_what_comes_again_is_of_the_configuration(number: int) -> None:
    assert type(start_fault("", OSError(number, os.strerror(number)))) is ConfigurationError


def test_a_name_that_is_no_address_is_of_the_configuration() -> None:
    assert type(start_fault("", socket.gaierror(socket.EAI_NONAME, "Name or service not known"))) is ConfigurationError
