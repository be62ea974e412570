"""The files of a validator's TLS: what can be served, and a line for each fault that says how to repair it."""

import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bettensor.bus.clock import SystemClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import CertificateLoaded
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.bus.timestamps import DAY
from bettensor.neurons.edges import certificate_files
from bettensor.neurons.edges.certificate_files import Served, read_proxy, read_served
from bettensor.neurons.system.files import Sight, look_at
from tests.fuzz.targets import CORPUS
from tests.neurons.edges.certificates import Pair, change_version, copy_pair, make_pair

OPENSSL = ("openssl",)


def now() -> Micros:
    return SystemClock().wall()


def served(pair: Pair) -> Served:
    return read_served(pair.pem, pair.key, now())


def test_a_pair_can_be_served_and_says_whose_it_is_and_until_when(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, hosts=("bets.example.org", "203.0.113.7"), days=30)
    found = served(pair)
    assert found.about.key == found.context.key == pair.digest
    assert found.about.names == ("bets.example.org", "203.0.113.7")
    assert found.about.not_after is not None
    assert abs(found.about.not_after - now() - 30 * DAY) < 60 * SECOND
    assert found.about.faults == ()
    assert found.is_valid(now())


def test_without_names_the_common_name_counts(tmp_path: Path) -> None:
    assert served(make_pair(tmp_path, "bets.example.org")).about.names == ("bets.example.org",)


def test_the_digest_is_that_of_other_programs(tmp_path: Path) -> None:
    """RFC 7469, section 2.4, by openssl."""
    pair = make_pair(tmp_path)
    command = f"openssl x509 -in {pair.pem} -pubkey -noout | openssl pkey -pubin -outform der | sha256sum"
    told = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout  # noqa: S602
    assert told.split()[0] == pair.digest


def test_authorities_may_follow_in_the_same_file(tmp_path: Path) -> None:
    authority = make_pair(tmp_path, "authority", is_authority=True)
    pair = make_pair(tmp_path, authority=authority)
    pair.pem.write_bytes(pair.pem.read_bytes() + authority.pem.read_bytes())
    assert served(pair).about.key == pair.digest


def test_what_the_operator_should_repair_is_told_and_does_not_stop_the_validator(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, days=-1)
    pair.key.chmod(0o644)
    found = served(pair)
    assert not found.is_valid(now())
    expired, readable = found.about.faults
    assert expired.startswith("it has expired at ")
    assert readable == f"every user of this machine may read its key: chmod 600 {pair.key}"
    before = Micros(now() - 30 * DAY)
    early = read_served(*make_pair(tmp_path)[:2], before)
    assert not early.is_valid(before)
    assert early.about.faults[0].startswith("it is not valid before ")


def cut(pair: Pair) -> None:
    pair.pem.write_bytes(pair.pem.read_bytes()[:300] + b"\n-----END CERTIFICATE-----\n")


def encrypt(pair: Pair) -> None:
    command = (*OPENSSL, "pkey", "-in", str(pair.key), "-aes256", "-passout", "pass:x", "-out", f"{pair.key}.new")
    subprocess.run(command, check=True)
    Path(f"{pair.key}.new").replace(pair.key)


def swap(pair: Pair) -> None:
    before = pair.pem.read_bytes()
    pair.pem.write_bytes(pair.key.read_bytes())
    pair.key.write_bytes(before)


def put_last(pair: Pair) -> None:
    authority = make_pair(pair.pem.parent, "authority", is_authority=True)
    pair.pem.write_bytes(authority.pem.read_bytes() + pair.pem.read_bytes())


def of_another(pair: Pair) -> None:
    pair.key.write_bytes(make_pair(pair.pem.parent, "other").key.read_bytes())


def weaken(pair: Pair) -> None:
    """A key that OpenSSL finds too small."""
    command = (*OPENSSL, "req", "-x509", "-newkey", "rsa:512", "-nodes", "-subj", "/CN=weak")
    subprocess.run((*command, "-keyout", pair.key, "-out", pair.pem), check=True, capture_output=True)


def in_der(pair: Pair) -> None:
    pair.pem.write_bytes(subprocess.check_output((*OPENSSL, "x509", "-in", pair.pem, "-outform", "der")))


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda pair: pair.pem.unlink(), "axon.tls.certificate: {pem} cannot be read: No such file or directory"),
        (lambda pair: pair.key.unlink(), "axon.tls.key: {key} cannot be read: No such file or directory"),
        (lambda pair: folder(pair.pem), "axon.tls.certificate: {pem} cannot be read: Is a directory"),
        (lambda pair: folder(pair.key), "axon.tls.key: {key} cannot be read: Is a directory"),
        (lambda pair: pair.pem.write_text(""), "axon.tls.certificate: {pem} is empty"),
        (lambda pair: pair.key.write_text("\n"), "axon.tls.key: {key} is empty"),
        (lambda pair: pair.pem.write_text("hello"), "axon.tls.certificate: {pem} has no certificate in PEM; expected"),
        (lambda pair: pair.key.write_text("hello"), "axon.tls.key: {key} is no private key in PEM: "),
        (
            lambda pair: pair.key.write_bytes(bytes(2 << 20)),
            "axon.tls.key: {key} cannot be read: it has more than 1 MiB",
        ),
        (cut, "axon.tls.certificate: {pem} is no certificate in PEM: "),
        (in_der, "axon.tls.certificate: {pem} has no certificate in PEM; expected -----BEGIN CERTIFICATE-----"),
        (swap, "axon.tls.certificate: {pem} has a private key; expected -----BEGIN CERTIFICATE-----"),
        (encrypt, "axon.tls.key: {key} is encrypted; a validator has no one to ask for the password: openssl pkey"),
        (of_another, "axon.tls.key: {key} does not belong to the certificate {pem}; set the key with which"),
        (put_last, "axon.tls.key: {key} does not belong to the certificate {pem}; the certificate of this key must be"),
        (weaken, "axon.tls.certificate: {pem} cannot be served: EE_KEY_TOO_SMALL"),
    ],
)
def test_each_file_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, spoil: Callable[[Pair], object], fault: str
) -> None:
    pair = make_pair(tmp_path)
    spoil(pair)
    with pytest.raises(ConfigurationError) as refused:
        served(pair)
    assert str(refused.value).startswith(fault.format(pem=pair.pem, key=pair.key))
    assert "\n" not in str(refused.value)
    assert "BEGIN PRIVATE" not in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    pair.key.chmod(0)
    with pytest.raises(ConfigurationError, match="cannot be read: Permission denied"):
        served(pair)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    pair.key.unlink()
    os.mkfifo(pair.key)
    with pytest.raises(ConfigurationError, match="cannot be read: it is a pipe or a device; save it as a file"):
        served(pair)


def test_what_was_judged_is_what_is_served_though_the_files_change_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, other = make_pair(tmp_path), make_pair(tmp_path, "other")
    looks = iter(range(100))

    def look_while_it_changes(files: Iterable[Path]) -> Sight:
        if next(looks) == 1:
            copy_pair(other, pair)
        return look_at(files)

    monkeypatch.setattr(certificate_files, "look_at", look_while_it_changes)
    assert served(pair).about.key == other.digest
    assert next(looks) == 4


def test_files_that_change_all_the_time_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = make_pair(tmp_path)
    counter = iter(range(100))
    monkeypatch.setattr(certificate_files, "look_at", lambda _: next(counter))
    with pytest.raises(ConfigurationError, match="change all the time"):
        served(pair)


def test_the_proxys_key_is_given_or_read_of_its_certificate(tmp_path: Path) -> None:
    assert read_proxy("ab" * 32, now()) == CertificateLoaded("ab" * 32, of_proxy=True)
    pair = make_pair(tmp_path, hosts=("bets.example.org",))
    found = read_proxy(pair.pem, now())
    assert (found.key, found.names, found.of_proxy) == (pair.digest, ("bets.example.org",), True)
    pair.pem.write_text("hello")
    with pytest.raises(ConfigurationError, match=r"^axon\.tls\.proxy_key: "):
        read_proxy(pair.pem, now())


def test_an_rsa_key_in_its_traditional_form_is_served_too(tmp_path: Path) -> None:
    private = rsa.generate_private_key(65537, 2048)
    key, pem = tmp_path / "rsa.key", tmp_path / "rsa.pem"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    command = (*OPENSSL, "req", "-x509", "-key", key, "-subj", "/CN=rsa", "-out", pem)
    subprocess.run(command, check=True, capture_output=True)
    assert len(read_served(pem, key, now()).context.key) == 64


def signed_by_authority(folder: Path, private: Any) -> Pair:
    """A pair of a key that need not be able to sign a certificate."""
    return make_pair(folder, authority=make_pair(folder, "authority", is_authority=True), private=private)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
        lambda: rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate,
    ],
)
def test_each_kind_of_key_by_which_miners_connect_is_served(tmp_path: Path, make: Callable[[], Any]) -> None:
    pair = signed_by_authority(tmp_path, make())
    assert served(pair).context.key == pair.digest


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: ec.generate_private_key(ec.SECP256K1()), "EC on secp256k1"),
        (lambda: ec.generate_private_key(ec.BrainpoolP256R1()), "EC on brainpoolP256r1"),
        (lambda: ec.generate_private_key(ec.SECP224R1()), "EC on secp224r1"),
        (lambda: dsa.generate_private_key(2048), "DSA"),
    ],
)
def test_a_kind_of_key_by_which_no_miner_could_connect_is_refused(
    tmp_path: Path, make: Callable[[], Any], kind: str
) -> None:
    pair = signed_by_authority(tmp_path, make())
    with pytest.raises(ConfigurationError) as refused:
        served(pair)
    told = str(refused.value)
    assert told.startswith(
        f"axon.tls.certificate: {pair.pem} cannot be served: no miner could connect by its key ({kind}"
    )
    assert told.endswith(
        "; make a key on P-256, by `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` or "
        "`bettensor wallet certificate`, and a certificate for it"
    )
    assert "\n" not in told


def test_a_certificate_of_a_version_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    change_version(pair, 9)
    with pytest.raises(ConfigurationError, match="is no certificate in PEM: 9 is not a valid X509 version"):
        read_proxy(pair.pem, SystemClock().wall())


def test_a_key_that_openssl_cannot_use_is_refused() -> None:
    file = CORPUS / "certificate" / "key_that_openssl_cannot_set_up"
    with pytest.raises(ConfigurationError, match=r"cannot_set_up is no private key in PEM: OpenSSL cannot use it$"):
        read_served(file, file, Micros(1_790_000_000_000_000))


def test_a_name_of_a_kind_that_it_may_not_have_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"bits_in_a_name cannot be read: oid must be .* for BitString type"):
        read_proxy(CORPUS / "certificate" / "bits_in_a_name", SystemClock().wall())
