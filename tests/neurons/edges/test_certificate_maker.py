"""Certificates that need no authority: whose they are, and how their key is kept."""

import os
import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.edges.certificate_files import MAX_BYTES, names_of
from bettensor.neurons.edges.certificate_maker import make_certificate
from bettensor.neurons.edges.tls import key_of
from tests.support import make_hotkey

OPENSSL = ("openssl",)
HOTKEY = make_hotkey()


def test_it_names_its_hotkey_and_its_address_and_its_key_is_private_from_the_first_byte(tmp_path: Path) -> None:
    pem, key = tmp_path / "a.pem", tmp_path / "a.key"
    digest = make_certificate(pem, key, HOTKEY, "203.0.113.7", 30)
    made = x509.load_pem_x509_certificate(pem.read_bytes())
    assert names_of(made) == (HOTKEY, "203.0.113.7")
    assert key_of(made.public_key()) == digest
    assert isinstance(made.public_key(), ec.EllipticCurvePublicKey)
    assert made.not_valid_before_utc < datetime.now(UTC) - timedelta(hours=23)
    assert timedelta(days=29) < made.not_valid_after_utc - datetime.now(UTC) < timedelta(days=31)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_made_again_it_keeps_its_key_so_that_a_pinned_one_stays_right(tmp_path: Path) -> None:
    pem, key = tmp_path / "a.pem", tmp_path / "a.key"
    first = make_certificate(pem, key, HOTKEY, None, 1)
    before, certificate = key.read_bytes(), pem.read_bytes()
    assert make_certificate(pem, key, HOTKEY, None, 1) == first
    assert key.read_bytes() == before
    assert pem.read_bytes() != certificate


def test_a_key_of_somebody_elses_making_is_not_used_nor_overwritten(tmp_path: Path) -> None:
    key = tmp_path / "a.key"
    key.write_text("mine")
    with pytest.raises(ConfigurationError, match=r"a\.key is there, and is no private key"):
        make_certificate(tmp_path / "a.pem", key, HOTKEY, None, 1)
    assert key.read_text() == "mine"


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        ("secp256k1", "no certificate for it can be served: no miner could connect by its key (EC on secp256k1: "),
        ("secp224r1", "no certificate for it can be served: no miner could connect by its key (EC on secp224r1: "),
        (
            "sect113r1",
            "is no private key of a certificate made here: choose --out DIR",
        ),  # cryptography does not know it
    ],
)
def test_a_key_by_which_no_miner_could_connect_is_refused_and_nothing_is_made(
    tmp_path: Path, curve: str, reason: str
) -> None:
    pem, key = tmp_path / "a.pem", tmp_path / "a.key"
    subprocess.run((*OPENSSL, "ecparam", "-name", curve, "-genkey", "-noout", "-out", key), check=True)
    before = key.read_bytes()
    with pytest.raises(ConfigurationError) as refused:
        make_certificate(pem, key, HOTKEY, None, 1)
    assert str(refused.value).startswith(f"{key} is there, and {reason}")
    assert "choose --out DIR" in str(refused.value)
    assert [*tmp_path.iterdir()] == [key]
    assert key.read_bytes() == before


def make_pipe(file: Path) -> None:
    os.mkfifo(file)


def lead_to_a_device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def fill(file: Path) -> None:
    file.write_bytes(bytes(MAX_BYTES + 1))


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (make_pipe, "it is a pipe or a device; save it as a file"),
        (lead_to_a_device, "it is a pipe or a device; save it as a file"),
        (fill, "it has more than 1 MiB; make it smaller"),
    ],
)
def test_a_key_without_an_end_is_not_read(tmp_path: Path, spoil: Callable[[Path], None], fault: str) -> None:
    key = tmp_path / "a.key"
    spoil(key)
    with pytest.raises(ConfigurationError, match=f"^{key} cannot be read: {fault}$"):
        make_certificate(tmp_path / "a.pem", key, HOTKEY, None, 1)


def test_files_that_cannot_be_written_or_read_are_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(ConfigurationError, match=r"a\.key cannot be written: No such file or directory; choose"):
        make_certificate(tmp_path / "a.pem", nowhere / "a.key", HOTKEY, None, 1)
    with pytest.raises(ConfigurationError, match=r"a\.pem cannot be written: No such file or directory; choose"):
        make_certificate(nowhere / "a.pem", tmp_path / "a.key", HOTKEY, None, 1)
    nowhere.mkdir()
    with pytest.raises(ConfigurationError, match="nowhere cannot be read: Is a directory"):
        make_certificate(tmp_path / "a.pem", nowhere, HOTKEY, None, 1)
