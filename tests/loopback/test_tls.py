"""TLS between a real miner and a real validator, and with programs of other kinds; and a man in the middle."""

import asyncio
import contextlib
import hashlib
import json
import shutil
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from cryptography import x509
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from bettensor.bus import codec
from bettensor.bus.clock import SystemClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    CertificateDoubted,
    CertificateLoaded,
    CertificateRefused,
    ConnectionOpened,
    DialRequested,
    FrameWritten,
    GamesRequested,
    HttpAnswered,
    LineLogged,
    PostRequested,
    SessionActivated,
    Tls,
    TlsLearned,
    VerdictReceived,
)
from bettensor.bus.identifiers import Hotkey, MessageId
from bettensor.bus.messages import HeartbeatMessage, PredictionMessage
from bettensor.neurons.cli.main import main
from bettensor.neurons.edges import tls
from bettensor.neurons.edges.acceptor import Acceptor, Timeouts
from bettensor.neurons.edges.certificate_files import read_served
from bettensor.neurons.edges.crowd import Strangers
from bettensor.neurons.system.ports import listen_on
from tests.loopback.rig import (
    ALICE,
    Client,
    Place,
    Rig,
    running_miner,
    running_validator,
    write_configuration,
)
from tests.loopback.test_miner import BETS, events, register_miner, until
from tests.neurons.edges.certificates import Pair, copy_pair, make_pair, trusting_anyone
from tests.support import make_prediction

OPENSSL: Final = shutil.which("openssl")
CURL: Final = shutil.which("curl")
NODE: Final = shutil.which("node")
CHROMIUM: Final = shutil.which("chromium")
PATIENCE: Final = 20.0

needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="needs the program openssl: apt-get install openssl")
needs_curl = pytest.mark.skipif(CURL is None, reason="needs the program curl: apt-get install curl")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")
needs_node = pytest.mark.skipif(NODE is None, reason="needs the program node: apt-get install nodejs")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """The validator's own certificate, which no authority knows."""
    return make_pair(tmp_path)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """The only one that the miner's system trusts."""
    made = make_pair(tmp_path, "authority", is_authority=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.pem))
    tls.vouching_context.cache_clear()
    yield made
    tls.vouching_context.cache_clear()


def listening(pair: Pair, **settings: Any) -> dict[str, Any]:
    """The section ``axon`` of a validator with TLS."""
    own = {"certificate": str(pair.pem), "key": str(pair.key)}
    return {"axon": {"ip": "127.0.0.1", "port": 0, "tls": own | settings}}


async def run(*command: str | None, said: str = "") -> tuple[int, str]:
    """The exit code of a program, and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        *[word for word in command if word is not None],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE):
        told, _ = await process.communicate(said.encode())
    return process.returncode or 0, told.decode(errors="replace")


def lines(envelopes: list[Any], level: str) -> list[str]:
    return [line.text for line in events(envelopes, LineLogged) if line.level == level]


# --- the miner


async def test_a_miner_finds_out_by_itself_and_says_nothing_before_it_has_tls(tmp_path: Path, pair: Pair) -> None:
    registered = register_miner(tmp_path)
    async with running_validator(tmp_path, **registered, **listening(pair)) as rig:
        async with running_miner(rig, actors=BETS) as (_, theirs):
            await until(lambda: len(events(theirs, VerdictReceived)) >= 3)
        plain, bound = events(theirs, DialRequested)
        assert (plain.tls, bound.tls) == (None, Tls(pair.digest))
        assert [opened.tls_key for opened in events(theirs, ConnectionOpened)] == ["", pair.digest]
        written = [write for write in events(theirs, FrameWritten) if write.connection == plain.connection]
        assert written == []
        assert events(theirs, TlsLearned) == [TlsLearned(rig.hotkey, Tls(pair.digest))]
    assert [opened.key for opened in rig.all(CertificateLoaded)] == [pair.digest]


async def test_by_http_too_predictions_go_by_tls_alone(tmp_path: Path, pair: Pair) -> None:
    registered = register_miner(tmp_path)
    async with (
        running_validator(tmp_path, **registered, **listening(pair)) as rig,
        running_miner(rig, actors=BETS, websocket={"enabled": False}) as (_, theirs),
    ):
        await until(lambda: len(events(theirs, VerdictReceived)) >= 3)
        assert events(theirs, GamesRequested)[0].tls is None
        assert {post.tls for post in events(theirs, PostRequested)} == {Tls(pair.digest)}


async def test_a_new_certificate_with_a_new_key_is_learned_by_http_and_no_prediction_meets_an_unknown_one(
    tmp_path: Path, pair: Pair
) -> None:
    registered = register_miner(tmp_path)
    async with (
        running_validator(tmp_path, **registered, **listening(pair)) as rig,
        running_miner(
            rig,
            actors=BETS,
            websocket={"enabled": False, "reconnect_base_interval": 0.1, "max_reconnect_interval": 0.2},
        ) as (_, theirs),
    ):
        await until(lambda: events(theirs, VerdictReceived))
        newer = make_pair(tmp_path, "newer")
        copy_pair(newer, pair)
        await rig.until(CertificateLoaded, 2)
        before = len(events(theirs, VerdictReceived))
        await until(lambda: len(events(theirs, VerdictReceived)) > before + 1)
        assert [learned.tls for learned in events(theirs, TlsLearned)] == [Tls(pair.digest), Tls(newer.digest)]
        assert {post.tls for post in events(theirs, PostRequested)} == {Tls(pair.digest), Tls(newer.digest)}


@pytest.mark.parametrize("mode", ["auto", "required"])
@pytest.mark.parametrize("websocket", [True, False])
async def test_a_man_in_the_middle_whose_certificate_the_roots_vouch_for_is_found(
    tmp_path: Path, pair: Pair, authority: Pair, mode: str, websocket: bool
) -> None:
    registered = register_miner(tmp_path)
    his = make_pair(tmp_path, "his", hosts=("127.0.0.1",), authority=authority)
    async with (
        running_validator(tmp_path, **registered, **listening(pair)) as rig,
        man_in_the_middle(rig, his) as man,
    ):
        place = Place(rig.folder, rig.hotkey, f"127.0.0.1:{man.port}")
        settings: dict[str, Any] = {"actors": BETS, "tls": {"mode": mode}, "websocket": {"enabled": websocket}}
        async with running_miner(place, **settings) as (_, theirs):
            await until(lambda: events(theirs, CertificateDoubted))
        doubted = events(theirs, CertificateDoubted)[0]
        assert doubted.validator == rig.hotkey
        assert doubted.reason.startswith(f"the certificate is not the validator's: its key is {his.digest[:12]}")
        assert [opened for opened in events(theirs, ConnectionOpened) if opened.tls_key == his.digest]
        assert events(theirs, SessionActivated) == events(theirs, VerdictReceived) == []
        told = [line for line in lines(theirs, "ERROR") if "is not trusted" in line]
        assert "somebody in between reads the connection" in told[0]
        assert b"prediction" not in man.heard


class ManInTheMiddle:
    """Ends TLS with his own certificate, reads everything, and passes it on. What is plain he passes on as it is."""

    port = 0

    def __init__(self, rig: Rig, own: Pair) -> None:
        self._upstream = rig.validator.port
        self._context = read_served(own.pem, own.key, SystemClock().wall()).context
        self.heard = b""
        """Of miners, by TLS."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        by_tls = writer.get_extra_info("ssl_object") is not None
        there, to = await asyncio.open_connection(
            "127.0.0.1", self._upstream, ssl=trusting_anyone() if by_tls else None
        )
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pump(reader, to, by_tls=by_tls), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, by_tls: bool = False) -> None:
        try:
            while data := await reader.read(1 << 16):
                self.heard += data if by_tls else b""
                writer.write(data)
        finally:
            writer.close()

    def greet(self, loop: asyncio.AbstractEventLoop) -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), self.serve, loop=loop)

    def context(self) -> ssl.SSLContext:
        return self._context


@asynccontextmanager
async def man_in_the_middle(rig: Rig, own: Pair) -> AsyncIterator[ManInTheMiddle]:
    """On one port, plainly and by TLS, as the validator does it."""
    man, loop = ManInTheMiddle(rig, own), asyncio.get_running_loop()
    socket = listen_on("127.0.0.1", 0, 10)
    socket.setblocking(False)
    man.port = socket.getsockname()[1]
    acceptor = Acceptor(
        socket,
        lambda _: man.greet(loop),
        Strangers("handshakes", 10, 10, lambda *_: None),
        tls=man.context,
        timeouts=Timeouts(PATIENCE, PATIENCE, PATIENCE),
        on_shortage=lambda _: None,
    )
    acceptor.open()
    try:
        yield man
    finally:
        await acceptor.close()


async def test_a_pinned_key_needs_no_plain_dial_and_another_one_is_left_in_the_handshake(
    tmp_path: Path, pair: Pair
) -> None:
    registered = register_miner(tmp_path)
    async with running_validator(tmp_path, **registered, **listening(pair, required=True)) as rig:
        async with running_miner(rig, actors=BETS, tls={"keys": {rig.hotkey: pair.digest}}) as (_, theirs):
            await until(lambda: events(theirs, VerdictReceived))
        assert [dial.tls for dial in events(theirs, DialRequested)] == [Tls(pair.digest)]
        before = len(rig.envelopes)
        shutil.rmtree(tmp_path / "miner-state")
        async with running_miner(rig, actors=BETS, tls={"keys": {rig.hotkey: "ab" * 32}}) as (_, theirs):
            await until(lambda: [line for line in lines(theirs, "WARNING") if "compare it with its operator" in line])
        assert [envelope for envelope in rig.envelopes[before:] if hasattr(envelope.event, "headers")] == []


async def test_a_validator_that_requires_tls_is_dialled_by_tls_after_its_refusal(tmp_path: Path, pair: Pair) -> None:
    registered = register_miner(tmp_path)
    async with running_validator(tmp_path, **registered, **listening(pair, required=True)) as rig:
        async with running_miner(rig, actors=BETS) as (_, theirs):
            await until(lambda: events(theirs, VerdictReceived))
        assert [dial.tls for dial in events(theirs, DialRequested)] == [None, Tls()]


# --- the validator


@asynccontextmanager
async def session(rig: Rig) -> AsyncIterator[Client]:
    """By TLS, with any certificate."""
    async with connect(
        f"wss://{rig.address}{rig.target()}",
        additional_headers=rig.sign(),
        subprotocols=[Subprotocol("bettensor.v1")],
        compression=None,
        ping_interval=None,
        proxy=None,
        ssl=trusting_anyone(),
    ) as socket:
        client = Client(socket, ALICE)
        await client.be_welcomed()
        await client.say(HeartbeatMessage())
        assert (await client.hear())["message_type"] == "game_update"
        yield client


def key_shown(client: Client) -> str:
    certificate = client.socket.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return tls.key_of(x509.load_der_x509_certificate(certificate).public_key())


async def test_a_new_certificate_serves_the_next_connections_and_sessions_of_the_old_one_live_on(
    tmp_path: Path, pair: Pair
) -> None:
    newer = make_pair(tmp_path, "newer")
    async with running_validator(tmp_path, **listening(pair)) as rig, session(rig) as old:
        assert key_shown(old) == old.welcome["tls_key"] == pair.digest
        pair.key.write_text("half a file")
        (refused,) = await rig.until(CertificateRefused)
        assert f"axon.tls.key: {pair.key} is no private key in PEM" in refused.reason
        await old.works()
        before = pair.digest
        copy_pair(newer, pair)
        await rig.until(CertificateLoaded, 2)
        async with rig.client() as plain:
            assert plain.welcome["tls_key"] == newer.digest
        assert before != newer.digest
        assert OPENSSL is None or await openssl_key(rig) == newer.digest
    told = [line for line in lines(rig.envelopes, "ERROR") if "the old one stays in force" in line]
    assert len(told) == 1


async def test_a_session_of_before_a_reload_has_its_verdicts_after_it(tmp_path: Path, pair: Pair) -> None:
    newer = make_pair(tmp_path, "newer")
    async with running_validator(tmp_path, **listening(pair)) as rig, session(rig) as old:
        copy_pair(newer, pair)
        await rig.until(CertificateLoaded, 2)
        await old.works()


async def test_without_tls_a_welcome_has_no_such_field(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig, rig.client() as client:
        assert "tls_key" not in client.welcome


async def test_no_private_key_is_in_an_event_log_or_a_line(tmp_path: Path, pair: Pair) -> None:
    async with running_validator(tmp_path, **listening(pair)) as rig, session(rig) as client:
        await client.works()
        secret = pair.key.read_text()
        pair.key.write_text("x" + secret)
        pair.pem.write_text(secret)
        await rig.until(CertificateRefused)
    body = secret.splitlines()[1]
    for file in (tmp_path / "state").glob("events*"):
        assert body not in file.read_text()
    assert body not in repr(rig.envelopes)


# --- programs of other kinds


async def openssl_key(rig: Rig) -> str:
    """By which key the next connection is served, as openssl sees it."""
    _, told = await run(OPENSSL, "s_client", "-connect", rig.address, "-tls1_2", said="")
    certificate = told[told.index("-----BEGIN CERTIFICATE") : told.index("-----END CERTIFICATE-----") + 26]
    _, public = await run(OPENSSL, "x509", "-pubkey", "-noout", said=certificate)
    der = ssl.PEM_cert_to_DER_cert(public.replace("PUBLIC KEY", "CERTIFICATE"))
    return hashlib.sha256(der).hexdigest()


@needs_openssl
@pytest.mark.parametrize(("version", "speaks"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
async def test_openssl_speaks_tls_1_2_and_1_3_and_no_other(
    tmp_path: Path, pair: Pair, version: str, speaks: bool
) -> None:
    async with running_validator(tmp_path, **listening(pair)) as rig:
        weak = ("-cipher", "DEFAULT@SECLEVEL=0") if version == "-tls1_1" else ()
        code, told = await run(OPENSSL, "s_client", "-connect", rig.address, version, *weak, "-alpn", "h2,http/1.1")
    assert (code == 0) == speaks, told
    assert ("ALPN protocol: http/1.1" in told) == speaks
    assert ("Cipher is (NONE)" in told) != speaks


@needs_openssl
async def test_openssl_sees_the_key_that_the_validator_says(tmp_path: Path, pair: Pair) -> None:
    async with running_validator(tmp_path, **listening(pair)) as rig:
        assert await openssl_key(rig) == pair.digest


@needs_curl
async def test_curl_gets_health_by_https_and_by_http_only_where_tls_is_not_required(tmp_path: Path, pair: Pair) -> None:
    asks = ("--silent", "--insecure", "--noproxy", "*", "--write-out", "\n%{http_code}")
    async with running_validator(tmp_path, **listening(pair)) as rig:
        for scheme in ("https", "http"):
            _, told = await run(CURL, *asks, f"{scheme}://{rig.address}/ws/health")
            assert json.loads(told.splitlines()[0])["status"] == "online"
            assert told.splitlines()[1] == "200"
        _, told = await run(CURL, *asks, "--pinnedpubkey", f"sha256//{'A' * 43}=", f"https://{rig.address}/ws/health")
        assert told.strip() == "000"
    async with running_validator(tmp_path, **listening(pair, required=True)) as rig:
        _, told = await run(CURL, *asks, f"http://{rig.address}/games?netuid=30")
        assert (json.loads(told.splitlines()[0])["error"], told.splitlines()[1]) == ("tls_required", "403")
        _, told = await run(CURL, *asks, f"http://{rig.address}/ws/health")  # from this machine
        assert told.splitlines()[1] == "200"
        _, told = await run(CURL, *asks, f"https://{rig.address}/ws/health")
        assert told.splitlines()[1] == "200"


async def test_a_flood_of_plain_checks_is_few_events_where_tls_is_required(tmp_path: Path, pair: Pair) -> None:
    async with (
        running_validator(tmp_path, **listening(pair, required=True)) as rig,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        answers = [await client.get(f"http://{rig.address}/ws/health") for _ in range(100)]
        assert {answer.status_code for answer in answers} == {200}
        assert 20 <= len(rig.all(HttpAnswered)) < 90


_NODE: Final = """
const [port, target, headers] = process.argv.slice(1);
const tls = require("tls"), crypto = require("crypto");
const socket = tls.connect({host: "127.0.0.1", port: +port, rejectUnauthorized: false, ALPNProtocols: ["http/1.1"]});
socket.on("error", error => { console.log(JSON.stringify({error: String(error)})); process.exit(1); });
socket.on("secureConnect", () => {
  const certificate = new crypto.X509Certificate(socket.getPeerCertificate().raw);
  const spki = certificate.publicKey.export({type: "spki", format: "der"});
  const shown = crypto.createHash("sha256").update(spki).digest("hex");
  socket.write(`GET ${target} HTTP/1.1\\r\\nHost: x\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n` +
    "Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n" +
    "Sec-WebSocket-Protocol: bettensor.v1\\r\\n" + headers + "\\r\\n");
  let heard = "";
  socket.on("data", data => {
    heard += data.toString("latin1");
    const found = /"tls_key":"([0-9a-f]{64})"/.exec(heard);
    if (!found) return;
    console.log(JSON.stringify({shown, named: found[1], protocol: socket.getProtocol()}));
    process.exit();
  });
});
"""


@needs_node
async def test_node_sees_the_key_that_the_welcome_names(tmp_path: Path, pair: Pair) -> None:
    async with running_validator(tmp_path, **listening(pair)) as rig:
        headers = "".join(f"{name}: {value}\r\n" for name, value in rig.sign().items())
        code, told = await run(NODE, "-e", _NODE, "--", str(rig.validator.port), rig.target(), headers)
    assert code == 0, told
    assert json.loads(told) == {"shown": pair.digest, "named": pair.digest, "protocol": "TLSv1.3"}


@needs_chromium
async def test_a_browser_accepts_the_certificate_by_its_key_alone(tmp_path: Path, pair: Pair) -> None:
    """By its key, as a miner does: no authority vouches for the certificate."""
    flags = ["--headless", "--disable-gpu", "--no-sandbox", f"--user-data-dir={tmp_path / 'browser'}"]
    key = b64encode(bytes.fromhex(pair.digest)).decode()
    async with running_validator(tmp_path, **listening(pair)) as rig:
        page = f"https://127.0.0.1:{rig.validator.port}/ws/health"
        _, refused = await run(CHROMIUM, *flags, "--dump-dom", page)
        _, shown = await run(CHROMIUM, *flags, f"--ignore-certificate-errors-spki-list={key}", "--dump-dom", page)
    assert '"connections"' not in refused
    assert '"connections"' in shown, shown[-500:]


async def test_a_prediction_is_posted_by_https(tmp_path: Path, pair: Pair) -> None:
    async with running_validator(tmp_path, **listening(pair)) as rig:
        message = codec.stamp(
            PredictionMessage(predictions=(make_prediction(),)),
            message_id=MessageId("5a" * 16),
            sender=Hotkey(ALICE.ss58_address),
            timestamp="2026-01-01T00:00:00.000000Z",
        )
        body, target = codec.encode_body(message), rig.target("/predictions")
        headers = rig.sign(method="POST", path=target, body=body)
        async with httpx.AsyncClient(trust_env=False, verify=trusting_anyone()) as client:
            answer = await client.post(f"https://{rig.address}{target}", content=body, headers=headers)
    welcome, confirmation = (json.loads(line) for line in answer.text.splitlines()[::2])
    assert welcome["tls_key"] == pair.digest
    assert [result["code"] for result in confirmation["results"]] == ["accepted"]


# --- files that cannot be used


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda pair: pair.key.unlink(), "axon.tls.key: {key} cannot be read: No such file or directory"),
        (lambda pair: pair.pem.write_text(""), "axon.tls.certificate: {pem} is empty"),
        (lambda pair: pair.key.write_text("x"), "axon.tls.key: {key} is no private key in PEM"),
    ],
)
async def test_a_validator_with_such_files_does_not_start_and_the_check_says_the_same(
    tmp_path: Path, pair: Pair, spoil: Callable[[Pair], object], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(pair)
    expected = fault.format(pem=pair.pem, key=pair.key)
    with pytest.raises(ConfigurationError) as refused:
        async with running_validator(tmp_path, **listening(pair)):
            pass
    assert str(refused.value).startswith(expected)
    assert main(["config", "check", str(tmp_path / "validator.yaml")]) == 2
    assert expected in capsys.readouterr().err


def test_the_check_names_what_should_be_repaired(
    tmp_path: Path, pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    expired = make_pair(tmp_path, "expired", days=-1)
    expired.key.chmod(0o644)
    config = write_configuration(tmp_path, **listening(expired))
    assert main(["config", "check", str(config)]) == 1
    told = capsys.readouterr()
    assert f"axon.tls.certificate: {expired.pem}: it has expired at " in told.out + told.err
    assert "every user of this machine may read its key" in told.out + told.err
    assert main(["config", "check", str(write_configuration(tmp_path, **listening(pair)))]) == 0
