"""Certificates that are thrown away with their test."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from bettensor.neurons.edges.tls import key_of
from bettensor.neurons.system.files import replace


def make_context(folder: Path, name: str = "localhost") -> ssl.SSLContext:
    """A server's context with a certificate of its own."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def trusting_anyone() -> ssl.SSLContext:
    """A client's context that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Pair(NamedTuple):
    """A certificate and its private key, in files."""

    pem: Path
    key: Path
    digest: str
    """Of the public key."""


def make_pair(folder: Path, name: str = "validator", hosts: tuple[str, ...] = (), **changes: Any) -> Pair:
    """A pair in ``folder``.

    Args:
        folder: where the files are made, or replaced.
        name: of the files, and the certificate's common name.
        hosts: names and IP addresses that it is for.
        changes: ``days`` until it expires, below 0 if it has; ``authority``: the pair that signs it; ``is_authority``;
            ``private``: its key, by default a new one on P-256; ``begins``: seconds until it is valid.
    """
    days, authority = changes.get("days", 30), changes.get("authority")
    private = changes.get("private") or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = subject, cast(Any, private)
    if authority is not None:
        issuer = x509.load_pem_x509_certificate(authority.pem.read_bytes()).subject
        signer = load_pem_private_key(authority.key.read_bytes(), None)
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [
        x509.IPAddress(ip_address(host)) if host.count(".") == 3 else x509.DNSName(host) for host in hosts
    ]
    begin = min(now, now + timedelta(days=days)) - timedelta(days=1)
    if "begins" in changes:
        begin = now + timedelta(seconds=changes["begins"])
    builder = (
        x509.CertificateBuilder(issuer, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=changes.get("is_authority", False), path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key", key_of(private.public_key()))
    replace(pair.key, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pair.key.chmod(0o600)
    replace(pair.pem, builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM))
    return pair


def change_version(pair: Pair, version: int) -> None:
    """Have the certificate say that it is of another version, which no authority would sign and OpenSSL ignores."""
    der = x509.load_pem_x509_certificate(pair.pem.read_bytes()).public_bytes(Encoding.DER)
    field = b"\xa0\x03\x02\x01"  # [0] INTEGER, of one byte
    assert der.count(field + b"\x02") == 1
    replace(pair.pem, ssl.DER_cert_to_PEM_cert(der.replace(field + b"\x02", field + bytes([version]))).encode())


def copy_pair(source: Pair, target: Pair) -> None:
    """Put ``source`` in the place of ``target``, one file after the other, as programs do that renew certificates."""
    replace(target.key, source.key.read_bytes())
    target.key.chmod(0o600)
    replace(target.pem, source.pem.read_bytes())
