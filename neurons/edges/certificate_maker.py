"""Makes a certificate that needs no authority: a miner checks it by the key that the validator signs in its welcome."""

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.edges.certificate_files import MAX_BYTES, Unservable, context_of
from bettensor.neurons.edges.tls import UNREADABLE, key_of
from bettensor.neurons.system.files import Unfit, read_file, replace, temporary_file

EARLIER: Final = timedelta(days=1)
"""The certificate is valid from so long before now: the clocks of others may be behind."""


def make_certificate(certificate: Path, key: Path, hotkey: Hotkey, address: str | None, days: int) -> str:
    """Write a self-signed certificate, and its private key (ECDSA on P-256) unless there is one. Returns the key's
    SHA-256.

    Args:
        certificate: its file; replaced in one step, so that a running validator reads it.
        key: the file of the private key, with mode 0600; if it is there, it is kept, so that a pinned key stays right.
        hotkey: whose certificate it is: its name.
        address: the IP address at which miners reach the validator; None if it is not known.
        days: for which it is valid.

    Raises:
        ConfigurationError: a file cannot be written, or ``key`` is another one than this makes, or one by which no
            miner could connect.
    """
    private = _key_at(key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hotkey)])
    names: list[x509.GeneralName] = [x509.DNSName(hotkey)]
    if address is not None:
        names.append(x509.IPAddress(ip_address(address)))
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    data = made.public_bytes(Encoding.PEM)
    try:
        _try(data, certificate, key, private.public_key())
        replace(certificate, data)
    except OSError as error:
        raise _unwritten(certificate, error) from None
    return key_of(private.public_key())


def _try(data: bytes, certificate: Path, key: Path, public: ec.EllipticCurvePublicKey) -> None:
    """See that a validator could serve ``data``, of which ``certificate`` is to be the file."""
    with temporary_file(certificate.with_name(f".{certificate.name}.trial")) as trial:
        trial.write_bytes(data)
        try:
            context_of(trial, key, public)
        except Unservable as error:
            text = f"{key} is there, and no certificate for it can be served: {error}; choose --out DIR for a new key"
            raise ConfigurationError(text) from None


def _key_at(file: Path) -> ec.EllipticCurvePrivateKey:
    """The private key in ``file``; a new one if there is no such file."""
    try:
        data = read_file(file, MAX_BYTES)
    except FileNotFoundError:
        return _new_key(file)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    except Unfit as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None
    try:
        known = load_pem_private_key(data, password=None)
    except UNREADABLE:
        known = None
    if not isinstance(known, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{file} is there, and is no private key of a certificate made here: choose --out DIR")
    return known


def _new_key(file: Path) -> ec.EllipticCurvePrivateKey:
    private = ec.generate_private_key(ec.SECP256R1())
    data = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
            out.write(data)
    except OSError as error:
        raise _unwritten(file, error) from None
    return private


def _unwritten(file: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{file} cannot be written: {error.strerror}; choose another folder with --out DIR")
