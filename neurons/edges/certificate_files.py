"""Reads the files of a validator's TLS: its certificate with its key, and the certificate of a proxy.

A file that cannot be used is refused with the key of the configuration, the file, and how to repair it.
"""

import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InternalError
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bettensor.bus.errors import BettensorError, ConfigurationError
from bettensor.bus.events import CertificateLoaded
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.tls import (
    UNREADABLE,
    HandshakeFailed,
    ServerContext,
    key_of,
    kind_of,
    reason_of,
    rehearse,
    server_context,
)
from bettensor.neurons.system.files import Unfit, look_at, read_file

CERTIFICATE: Final = "axon.tls.certificate"
KEY: Final = "axon.tls.key"
PROXY_KEY: Final = "axon.tls.proxy_key"
MAX_BYTES: Final = 1 << 20
"""Bytes of a file; a long chain has some 20,000."""
ATTEMPTS: Final = 3
"""How often two files are read that change meanwhile."""


OTHER_KIND: Final = (
    "make a key on P-256, by `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` or "
    "`bettensor wallet certificate`, and a certificate for it"
)


class Unservable(BettensorError):
    """A certificate and its key cannot be served; the message says why."""


class Served(NamedTuple):
    """A certificate that can be served."""

    context: ServerContext
    about: CertificateLoaded
    not_before: Micros
    """Wall clock at which it becomes valid."""

    def is_valid(self, now: Micros) -> bool:
        """Whether it is valid already, and has not expired."""
        return self.not_before <= now and (self.about.not_after is None or now < self.about.not_after)


def is_of_tls(fault: str) -> bool:
    """Whether a fault, as the check of a configuration tells it, is of a file of TLS: then it costs no row."""
    return fault.startswith((f"{CERTIFICATE}: ", f"{PROXY_KEY}: "))


def read_served(certificate: Path, key: Path, now: Micros) -> Served:
    """The certificate of ``axon.tls``, with its key.

    Args:
        certificate: its file; certificates of authorities may follow it.
        key: the file of its private key.
        now: by the wall clock.

    Raises:
        ConfigurationError: they cannot be used; one line says why.
    """
    for _ in range(ATTEMPTS):
        seen = look_at((certificate, key))
        served = _read_once(certificate, key, now)
        if look_at((certificate, key)) == seen:  # what was judged is what the context has
            return served
    raise ConfigurationError(f"{CERTIFICATE}: {certificate} and {key} change all the time")


def _read_once(certificate: Path, key: Path, now: Micros) -> Served:
    first, *others = _certificates(CERTIFICATE, certificate)
    about = _about(CERTIFICATE, certificate, first, now, (*_readable(key),))
    shown = _key_in(key)
    if shown != about.key:
        if shown in [_key(CERTIFICATE, certificate, other) for other in others]:
            cure = "the certificate of this key must be the first in its file, and those of authorities follow"
        else:
            cure = "set the key with which the certificate was made"
        raise ConfigurationError(f"{KEY}: {key} does not belong to the certificate {certificate}; {cure}")
    try:
        context = context_of(certificate, key, first.public_key())
    except Unservable as error:
        raise ConfigurationError(f"{CERTIFICATE}: {certificate} cannot be served: {error}; {OTHER_KIND}") from None
    return Served(context, about, _micros(first.not_valid_before_utc))


def context_of(certificate: Path, key: Path, public: Any) -> ServerContext:
    """A context by which miners can connect.

    Args:
        certificate: the file of the certificate.
        key: the file of its private key.
        public: the key of the certificate.

    Raises:
        Unservable: OpenSSL refuses one of the files, or no miner could connect.
    """
    context = server_context()
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # without it OpenSSL would ask at the terminal
        rehearse(context)
    except OSError as error:
        raise Unservable(reason_of(error)) from None
    except HandshakeFailed as error:
        raise Unservable(f"no miner could connect by its key ({kind_of(public)}: {error})") from None
    context.key = key_of(public)
    return context


def read_proxy(proxy_key: Path | str, now: Micros) -> CertificateLoaded:
    """The key of ``axon.tls.proxy_key``.

    Args:
        proxy_key: the key itself, or the file of the proxy's certificate.
        now: by the wall clock.

    Raises:
        ConfigurationError: the file cannot be used; one line says why.
    """
    if isinstance(proxy_key, str):
        return CertificateLoaded(proxy_key, of_proxy=True)
    first, *_ = _certificates(PROXY_KEY, proxy_key)
    about = _about(PROXY_KEY, proxy_key, first, now)
    return CertificateLoaded(about.key, about.names, about.not_after, about.faults, of_proxy=True)


def _about(
    setting: str, file: Path, certificate: x509.Certificate, now: Micros, faults: tuple[str, ...] = ()
) -> CertificateLoaded:
    try:
        begins, ends = (_micros(at) for at in (certificate.not_valid_before_utc, certificate.not_valid_after_utc))
        names = names_of(certificate)
    except UNREADABLE as error:
        raise ConfigurationError(f"{setting}: {file} cannot be read: {_one_line(error)}") from None
    if now >= ends:
        text = f"it has expired at {rfc3339(ends)[:19]}Z: programs that check it by an authority refuse it; renew it"
        faults = (text, *faults)
    elif now < begins:
        faults = (f"it is not valid before {rfc3339(begins)[:19]}Z: compare this machine's clock with NTP", *faults)
    return CertificateLoaded(_key(setting, file, certificate), names, ends, faults)


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The host names and addresses that a certificate is for; without any, its common name."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return tuple(str(name.value) for name in common[:1])
    hosts = names.get_values_for_type(x509.DNSName)
    return (*hosts, *map(str, names.get_values_for_type(x509.IPAddress)))


def _certificates(setting: str, file: Path) -> list[x509.Certificate]:
    data = _read(setting, file)
    if b"-----BEGIN CERTIFICATE" not in data:
        other = "a private key" if b"PRIVATE KEY-----" in data else "no certificate in PEM"
        cure = "expected -----BEGIN CERTIFICATE-----; for a DER file: openssl x509 -inform der -in FILE -out NEW"
        raise ConfigurationError(f"{setting}: {file} has {other}; {cure}")
    try:
        return x509.load_pem_x509_certificates(data)
    except UNREADABLE as error:
        raise ConfigurationError(f"{setting}: {file} is no certificate in PEM: {_one_line(error)}") from None


def _key(setting: str, file: Path, certificate: x509.Certificate) -> str:
    try:
        return key_of(certificate.public_key())
    except UNREADABLE as error:
        raise ConfigurationError(f"{setting}: {file}: its key cannot be used: {_one_line(error)}") from None


def _key_in(file: Path) -> str:
    data = _read(KEY, file)
    try:
        private: Any = load_pem_private_key(data, password=None)
    except TypeError:
        cure = f"a validator has no one to ask for the password: openssl pkey -in {quote(str(file))} -out NEW"
        raise ConfigurationError(f"{KEY}: {file} is encrypted; {cure}") from None
    except UNREADABLE as error:
        raise ConfigurationError(f"{KEY}: {file} is no private key in PEM: {_one_line(error)}") from None
    return key_of(private.public_key())


def _read(setting: str, file: Path) -> bytes:
    try:
        data = read_file(file, MAX_BYTES)
    except OSError as error:
        raise ConfigurationError(f"{setting}: {file} cannot be read: {error.strerror}") from None
    except Unfit as error:
        raise ConfigurationError(f"{setting}: {file} cannot be read: {error}") from None
    if not data.strip():
        raise ConfigurationError(f"{setting}: {file} is empty")
    return data


def _readable(key: Path) -> Iterator[str]:
    try:
        is_open = bool(key.stat().st_mode & stat.S_IROTH)
    except OSError:
        return  # reading it says why
    if is_open:
        yield f"every user of this machine may read its key: chmod 600 {quote(str(key))}"


def _micros(at: Any) -> Micros:
    return Micros(round(at.timestamp()) * SECOND)


def _one_line(error: Exception) -> str:
    text = "OpenSSL cannot use it" if isinstance(error, InternalError) else str(error)
    return " ".join(text.split())[:200]
