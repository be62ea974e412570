"""Checks whether a neuron can run as it is configured, and says how to fix what stops it. Changes nothing."""

import asyncio
import contextlib
import os
import shutil
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from email.parser import Parser
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from bettensor.actors.announce import Serving, announced_endpoint, dialled_port
from bettensor.actors.cures import FEW_WATCHES, SECTION
from bettensor.actors.logbook import EXPIRY_WARNING
from bettensor.actors.miner.targets import is_wanted, lack_of
from bettensor.actors.validator.auth import ValidatorAuthSettings
from bettensor.bus.addresses import split_endpoint
from bettensor.bus.clock import SystemClock
from bettensor.bus.errors import BettensorError, ConfigurationError
from bettensor.bus.events import CertificateLoaded, NeuronInfo, Role, Tls
from bettensor.bus.identifiers import Hotkey, Micros
from bettensor.bus.text import counted
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.cli import versions
from bettensor.neurons.cli.control_client import ask
from bettensor.neurons.config.settings import MinerSettings, Settings, ValidatorSettings, is_hotkey
from bettensor.neurons.config.sources import Sources, Where, blame
from bettensor.neurons.edges.crowd import SPARE_FILES, files_for
from bettensor.neurons.system.files import why_unwatched
from bettensor.neurons.system.ports import listen_on
from bettensor.neurons.system.processes import most_open_files
from bettensor.neurons.system.proxies import proxy_of

if TYPE_CHECKING:
    from bettensor.neurons.edges.tls import Shown

Health = Literal["ok", "warning", "failure", "unknown"]

ANSWER_TIMEOUT: Final = 60.0
"""Seconds for the answers of the chain; the first answers include the chain's metadata."""
DIAL_TIMEOUT: Final = 3.0
"""Seconds for one TCP connection, and for the answer over it."""
LEAST_SPACE: Final = 1 << 30
"""Free bytes on the ledger's disk, below which there is a warning."""
NO_SPACE: Final = 1 << 26
"""Free bytes on the ledger's disk, below which there is a failure."""
MAX_BEHIND: Final = 1.0
"""Seconds that this clock may be behind a block's timestamp; validators refuse requests from 2 s ahead on."""
NEXT_BLOCK: Final = 15.0
"""Seconds within which a working chain produces a block; a new block's timestamp is the best clock there is."""
LOOK_INTERVAL: Final = 0.5
"""Seconds between two queries for a new block."""
NEW_BLOCK_AGE: Final = 6.0
"""Seconds between a block's timestamp and its arrival here, usually."""
SLOT: Final = 12.0
"""Seconds between two blocks: a block that has just arrived cannot be older."""
BLOCK_AGE: Final = 36.0
"""Seconds; the newest block of a working chain is younger."""
INDENT: Final = 24
"""Columns before the text of a finding."""
CLOCK_ERROR: Final = 2.0
"""Seconds between two clocks above which requests are refused."""
LEAST_STAKE: Final = 1_000
"""The stake that existing miners ask of a validator if they follow the subnet's start script."""
USUAL_STAKE: Final = 10_000
"""The same if they do not: their program's default."""
_ENABLE: Final = "synapse.enabled"
_NO_CHAIN: Final = "the clock cannot be compared with the chain's: the metagraph is a file"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; ``cure`` says how to fix a failure."""

    what: str
    health: Health
    text: str
    cure: str = ""


def examine(settings: Settings, where: Where, make_client: Callable[[str], Any] | None = None) -> list[Finding]:
    """Check everything that a neuron with these settings needs.

    Args:
        settings: of either role.
        where: where the settings come from, for messages.
        make_client: makes a bittensor client; for tests.
    """
    return asyncio.run(_examine(settings, where, make_client))


async def _examine(settings: Settings, where: Where, make_client: Callable[[str], Any] | None) -> list[Finding]:
    found = [_versions()]
    if found[0].health == "failure":
        return [*found, *_disk(settings.state_dir), _open_files(settings)]  # the other checks would fail for this alone
    found += [_parts(settings, where), *_disk(settings.state_dir), _open_files(settings), _file_changes()]
    hotkey, wallet = _wallet(settings)
    found.append(wallet)
    metagraph: list[NeuronInfo] | None = None
    async for finding, neurons in _metagraph(settings, make_client):
        metagraph = neurons if neurons is not None else metagraph
        found.append(finding)
    me = next((neuron for neuron in metagraph or () if neuron.hotkey == hotkey), None)
    if metagraph is not None and hotkey is not None:
        found.append(_registration(settings, hotkey, me))
    service = _service(settings)
    if service is not None:
        found += [finding async for finding in _port(settings, service, me)]
    if isinstance(settings, MinerSettings) and metagraph is not None:
        found += [finding async for finding in _validators(settings, metagraph, hotkey)]
        found += [finding async for finding in _keys_shown(settings, metagraph)]
    if isinstance(settings, ValidatorSettings):
        found += _certificates(settings, hotkey)
    return [*found, _synapse(settings, me)]


# --- this machine


def _versions() -> Finding:
    bittensor = versions.installed()
    text = f"bettensor {version('bettensor')}, bittensor {bittensor}, Python {sys.version.split()[0]}"
    if not versions.fits(bittensor):
        return Finding("versions", "failure", text, versions.CURE)
    return Finding("versions", "ok", text)


def _parts(settings: Settings, where: Where) -> Finding:
    from bettensor.neurons.edges.certificate_files import is_of_tls
    from bettensor.neurons.launch import check

    name = blame(where, "")

    try:
        told = check(settings, where)
    except ConfigurationError as error:
        file = where.file if isinstance(where, Sources) else where
        cure = f"correct it, then run: bettensor config check {file}" if file else "correct the flag or the variable"
        return Finding("configuration", "failure", str(error), cure)
    faults = [fault for fault in told if not is_of_tls(fault)]  # `tls` tells the others, with their cures
    if faults:
        cure = f"correct the rows, which the neuron would not use; bettensor config check {name} lists all"
        others = f", and {len(faults) - 1} more" if faults[1:] else ""
        return Finding("configuration", "warning", f"{faults[0]}{others}", cure)
    return Finding("configuration", "ok", f"{name}: valid; its actors, handlers and files can be loaded")


def _disk(state_dir: Path) -> Iterator[Finding]:
    from bettensor.neurons.edges.database import check_folder

    there = next(folder for folder in (state_dir, *state_dir.parents) if os.path.lexists(folder))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        cure = f"make it a folder that this user may write to, or set another state_dir (now {state_dir})"
        yield Finding("disk", "failure", f"{there} is not a writable folder", cure)
        return
    free = shutil.disk_usage(there).free
    if free < NO_SPACE:
        cure = "free some space, or set another state_dir: the ledger and the logs grow"
        yield Finding("disk", "failure", f"the disk of {state_dir} is full: {free >> 20} MiB free", cure)
        return
    try:
        check_folder(there)
    except ConfigurationError as error:
        yield Finding("disk", "failure", str(error), f"set another state_dir (now {state_dir})")
        return
    text = f"{state_dir} is writable, {free / 2**30:.1f} GiB free"
    if free < LEAST_SPACE:
        yield Finding("disk", "warning", text, "free some space: the ledger and the logs grow")
    else:
        yield Finding("disk", "ok", text)


def _open_files(settings: Settings) -> Finding:
    needed, cheaper = SPARE_FILES, ""
    if isinstance(settings, ValidatorSettings):
        needed = files_for(settings.limits, _max_connections(settings))
        cheaper = ", or lower actors.auth.max_connections and limits.strangers"
    most = most_open_files()
    text = f"the hard limit is {most} open files, and this neuron needs {needed}"
    if most < needed:
        cure = f"set ulimit -H -n {needed} or LimitNOFILE={needed} in systemd{cheaper}"
        return Finding("open files", "warning", text, cure)
    return Finding("open files", "ok", text)


def _file_changes() -> Finding:
    reason = why_unwatched(Path.cwd())  # the limits are the user's, whatever the folder
    if reason:
        text = f"files cannot be watched ({reason}), so a neuron checks them every second: it notices changes later"
        return Finding("file changes", "warning", text, FEW_WATCHES)
    return Finding("file changes", "ok", "the system tells a neuron of changed files at once")


def _max_connections(settings: ValidatorSettings) -> int:
    """The configured value, or the default if it is wrong: the check of the configuration reports that."""
    try:
        return int(settings.actors["auth"]["max_connections"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return ValidatorAuthSettings().max_connections


def _wallet(settings: Settings) -> tuple[str | None, Finding]:
    from bettensor.neurons.edges.keys import UnusableHotkey
    from bettensor.neurons.edges.wallets import hotkey_file, is_readable_for_all, load_hotkey

    wallet = settings.wallet
    place = (wallet.name, wallet.hotkey, str(wallet.path))
    try:
        hotkey: str = load_hotkey(*place).ss58_address
    except UnusableHotkey as error:
        return None, Finding("wallet", "failure", error.what, error.cure)
    text = f"{wallet.name}/{wallet.hotkey} is {hotkey}"
    if is_readable_for_all(*place):
        file = hotkey_file(*place)
        text = f"{text}, and every user of this machine may read {file}"
        return hotkey, Finding("wallet", "warning", text, f"chmod 600 {quote(str(file))}")
    return hotkey, Finding("wallet", "ok", text)


# --- the subnet


async def _metagraph(
    settings: Settings, make_client: Callable[[str], Any] | None
) -> AsyncIterator[tuple[Finding, list[NeuronInfo] | None]]:
    static = settings.metagraph.static
    if static is not None:
        from bettensor.neurons.edges.static_files import read_metagraph

        with contextlib.suppress(ConfigurationError):  # the check of the configuration reports it
            neurons = list(read_metagraph(static).contents.neurons)
            yield Finding("metagraph", "ok", f"{static}: {counted(len(neurons), 'neuron')}"), neurons
        yield Finding("clock", "unknown", _NO_CHAIN, "make sure NTP is running"), None
        return
    from bettensor.neurons.edges.chain import make_client as real
    from bettensor.neurons.edges.chain import neurons_of

    chosen = settings.subtensor.chosen
    client = (make_client or real)(chosen)
    proxy = proxy_of(client.endpoint)
    through = f" through the proxy {proxy}" if proxy else ""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await client.connect()
            block = await client.block()
        yield Finding("chain", "ok", f"{chosen} answers{through}, at block {block}"), None
        async with asyncio.timeout(NEXT_BLOCK + ANSWER_TIMEOUT):
            yield await _clock(client, block), None
        async with asyncio.timeout(ANSWER_TIMEOUT):
            metagraph = await client.subnets.metagraph(settings.netuid, commitments=False)
        if metagraph is None:
            cure = "correct netuid or subtensor.network"
            yield Finding("metagraph", "failure", f"there is no subnet {settings.netuid} on {chosen}", cure), None
        else:
            neurons = list(neurons_of(metagraph))
            yield Finding("metagraph", "ok", f"{counted(len(neurons), 'neuron')} on subnet {settings.netuid}"), neurons
    except Exception as error:  # noqa: BLE001 - bittensor raises errors of five libraries
        cure = "check the network and subtensor.chain_endpoint; a running neuron keeps its last metagraph"
        cure = f"check the proxy, which the environment names; {cure}" if proxy else cure
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        yield Finding("chain", "failure", f"{chosen} does not answer{through}: {reason}"[:400], cure), None
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await client.close()


async def _clock(client: Any, block: int) -> Finding:
    """Compare with a block at the moment when it is new: its timestamp is seconds old, and never in the future."""
    deadline = time.monotonic() + NEXT_BLOCK
    while not (is_new := await client.block() > block) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_INTERVAL)
    block_time = await client.query(("Timestamp", "Now"))
    if not isinstance(block_time, int):
        return Finding("clock", "unknown", "the chain does not tell the time", "make sure NTP is running")
    age = time.time() - block_time / 1000
    cure = "let NTP set this clock: timedatectl set-ntp true, or chronyd"
    if age < -MAX_BEHIND:
        return Finding("clock", "failure", f"this clock is {-age:.1f} s behind the newest block", cure)
    if age > (SLOT if is_new else BLOCK_AGE):
        text = f"this clock is {age:.0f} s ahead of the newest block"
        return Finding("clock", "failure", text if is_new else f"{text}, or the chain has stopped", cure)
    if not is_new:
        text = f"the newest block is {age:.0f} s old, and no other came within {NEXT_BLOCK:.0f} s"
        return Finding("clock", "unknown", text, "check the chain's node, and make sure NTP is running")
    if age > NEW_BLOCK_AGE:
        return Finding("clock", "warning", f"this clock is {age:.1f} s ahead of a new block", cure)
    return Finding("clock", "ok", f"a new block is {age:.1f} s old by this clock")


def _registration(settings: Settings, hotkey: str, me: NeuronInfo | None) -> Finding:
    if me is None:
        wallet = f"--wallet {settings.wallet.name} --wallet-hotkey {settings.wallet.hotkey}"
        cure = (
            f"register it: btcli subnets register --netuid {settings.netuid} {wallet}; or list it in metagraph.static"
        )
        return Finding("registration", "failure", f"{hotkey} is not on subnet {settings.netuid}", cure)
    if isinstance(settings, ValidatorSettings) and not me.validator_permit:
        text = f"UID {me.uid} has no validator permit, and miners connect only to validators with one"
        return Finding("registration", "failure", text, "stake more, or ask miners to list this hotkey in `validators`")
    permit = ", with a validator permit" if me.validator_permit else ""
    return Finding("registration", "ok", f"UID {me.uid}{permit}")


# --- how they reach each other


class Service(NamedTuple):
    """The public port of a neuron."""

    role: Role
    serving: Serving
    callers: str
    """Who finds its endpoint in the metagraph."""
    unreached: Health
    """How bad it is if nobody can."""

    @property
    def section(self) -> str:
        """Of the configuration."""
        return SECTION[self.role]


def _service(settings: Settings) -> Service | None:
    if isinstance(settings, ValidatorSettings):
        return Service("validator", settings.axon, "miners", "failure")
    if isinstance(settings, MinerSettings) and settings.synapse.enabled:
        return Service("miner", settings.synapse, "existing validators", "warning")  # new ones are dialled by the miner
    return None


async def _port(settings: Settings, service: Service, me: NeuronInfo | None) -> AsyncIterator[Finding]:
    serving = service.serving
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(listen_on(serving.ip, serving.port, 1))
            yield Finding("port", "ok", f"{serving.ip}:{serving.port} is free")
        except OSError as error:
            yield _taken(settings, service, error)
        if me is not None:
            yield await _endpoint(me.axon, settings, service)


def _taken(settings: Settings, service: Service, error: OSError) -> Finding:
    """The port cannot be bound; this neuron itself may be the one that uses it."""
    ip, port = service.serving.ip, service.serving.port
    where = f"{ip}:{port}"
    with contextlib.suppress(BettensorError):
        status = ask(settings.state_dir, {"ask": "status", "slates": False})  # the neuron may run an earlier release
        if (status.get("listening") or "").endswith(f":{port}"):
            return Finding("port", "ok", f"this {service.role} (process {status['process']}) listens on {where}")
    from bettensor.neurons.edges.http_server import cure_for_port

    cure = cure_for_port(service.section, ip, port, error)
    return Finding("port", "failure", f"{where} cannot be bound: {error.strerror or error}", cure)


async def _endpoint(told: str | None, settings: Settings, service: Service) -> Finding:
    section, role = service.section, service.role
    announced = None if settings.metagraph.static else announced_endpoint(service.serving)
    endpoint = announced or told
    if endpoint is None:
        cure = f"set {section}.external_ip to announce it on the chain; in a metagraph file, set axon"
        text = f"the metagraph has no endpoint for this {role}, so {service.callers} do not find it"
        return Finding("endpoint", service.unreached, text, cure)
    port = dialled_port(service.serving)
    if announced is None and port and int(endpoint.rpartition(":")[2]) != port:
        cure = f"set {section}.external_ip to announce it, or correct {section}.port or {section}.external_port"
        return Finding("endpoint", service.unreached, f"the metagraph has {told}, but the port is {port}", cure)
    visit = await _visit(endpoint, asks=service.role == "validator")
    if not visit.reached:
        text = f"{service.callers} will dial {endpoint}, which cannot be reached from this machine: {visit.reason}"
        cure = "open the port in the firewall and forward it; ignore this if your router has no NAT loopback"
        return Finding("endpoint", "warning", text, cure)
    if endpoint != told:
        text = f"the metagraph has {told or 'no endpoint'}, and this {role} will announce {endpoint}"
        cure = f"start it: it announces itself; {service.callers} follow at their next sync"
        if told is not None:
            cure += (
                f"; if another process of this hotkey announces {told}, set {section}.serve: false in one of the two"
            )
        return Finding("endpoint", "warning", text, cure)
    return Finding("endpoint", "ok", f"{endpoint} can be reached from this machine")


def _synapse(settings: Settings, me: NeuronInfo | None) -> Finding:
    """Whether this neuron speaks with existing ones, and why they would not speak with it."""
    if isinstance(settings, MinerSettings):
        if not settings.synapse.enabled:
            return Finding("synapse", "ok", f"off: this miner answers no existing validators ({_ENABLE})")
        announced = None if settings.metagraph.static else announced_endpoint(settings.synapse)
        known = "no endpoint" if me is None or me.axon is None else me.axon
        text = f"on: this miner answers existing validators; it announces {announced or 'nothing'}, and the metagraph "
        return Finding("synapse", "ok", f"{text}has {known}")
    if not isinstance(settings, ValidatorSettings) or not settings.synapse.enabled:
        return Finding("synapse", "ok", f"off: this validator asks no existing miners ({_ENABLE})")
    if me is not None and not me.validator_permit:
        return Finding("synapse", "warning", "on, but existing miners refuse validators without a permit", "stake more")
    if me is not None and me.stake < USUAL_STAKE:
        text = f"on, but the stake is {me.stake:,.0f}, and existing miners refuse less than {LEAST_STAKE:,} to "
        return Finding("synapse", "warning", f"{text}{USUAL_STAKE:,}, as each of them chooses", "stake more")
    return Finding("synapse", "ok", f"on: existing miners are asked every {settings.synapse.query_interval:g} s")


async def _validators(
    settings: MinerSettings, metagraph: Sequence[NeuronInfo], own: str | None
) -> AsyncIterator[Finding]:
    chosen = settings.validators
    unreached: Health = "warning" if settings.synapse.enabled else "failure"
    wanted = [neuron for neuron in metagraph if is_wanted(neuron, chosen) and neuron.hotkey != own]
    for hotkey in chosen:
        if hotkey not in [neuron.hotkey for neuron in wanted]:
            yield Finding("validators", "warning", f"{hotkey} is not in the metagraph", "correct the key `validators`")
    endpoints = {neuron.hotkey: neuron.axon for neuron in wanted if neuron.axon is not None}
    visits = await asyncio.gather(*map(_visit, endpoints.values()))
    for (hotkey, endpoint), visit in zip(endpoints.items(), visits, strict=True):
        if not visit.reached:
            text = f"{hotkey} at {endpoint} cannot be reached: {visit.reason}"
            yield Finding("validators", "warning", text, "check the network here, or ask the validator's operator")
    reached = [visit for visit in visits if visit.reached]
    silent = len(wanted) - len(endpoints)
    count = f"of {len(wanted)}" + (f" ({silent} have no endpoint in the metagraph)" if silent else "")
    if reached:
        yield Finding("validators", "ok", f"{len(reached)} {count} can be reached from this machine")
    elif lack := lack_of(metagraph, chosen, own):
        yield Finding("validators", unreached, f"there is no validator to connect to: {lack.reason}", lack.cure)
    else:
        cure = "check this machine's network, and correct the key `validators` if it is set"
        text = f"none {count} can be reached from this machine"
        if settings.synapse.enabled:
            cure += "; existing validators need not be reached, because they ask this miner"
        yield Finding("validators", unreached, text, cure)
    ahead = [visit.ahead for visit in reached if visit.ahead is not None]
    if ahead and abs(median(ahead)) > CLOCK_ERROR:
        which = "ahead of" if median(ahead) > 0 else "behind"
        text = f"this clock is {abs(median(ahead)):.0f} s {which} the validators' clocks, so they refuse its signatures"
        yield Finding("clock", "failure", text, "let NTP set this clock: timedatectl set-ntp true, or chronyd")


class Visit(NamedTuple):
    """What one connection to an endpoint shows."""

    reached: bool
    ahead: float | None = None
    """Seconds that this clock is ahead of the server's; None if the server does not tell the time."""
    reason: str = ""
    """Why it cannot be reached."""


async def _visit(endpoint: str, *, asks: bool = True) -> Visit:
    """Connect, and ask a validator for its health, which shows its clock; a miner's port would refuse the question."""
    host, _, port = endpoint.rpartition(":")
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError:
        return Visit(reached=False, reason=f"no answer in {DIAL_TIMEOUT:.0f} s")
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or 0
        return Visit(reached=False, reason=os.strerror(number) if number > 0 else str(error))
    if not asks:
        writer.close()
        return Visit(reached=True)
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            writer.write(f"GET /ws/health HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        told = Parser().parsestr(head.partition("\r\n")[2]).get("date", "")
        ahead = time.time() - parsedate_to_datetime(told).timestamp() - 0.5  # Date has whole seconds
        return Visit(reached=True, ahead=ahead)
    except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return Visit(reached=True)
    finally:
        writer.close()


# --- TLS


def _certificates(settings: ValidatorSettings, hotkey: str | None) -> Iterator[Finding]:
    """The validator's own certificate, and its proxy's."""
    from bettensor.neurons.edges.certificate_files import read_proxy, read_served

    tls, now = settings.axon.tls, SystemClock().wall()
    if tls.certificate is None and tls.proxy_key is None:
        yield Finding("tls", "ok", "off: predictions can be read on their way to this validator (axon.tls)")
    with contextlib.suppress(ConfigurationError):  # the check of the configuration reports it
        if tls.certificate is not None and tls.key is not None:
            about = read_served(tls.certificate, tls.key, now).about
            yield _certificate(about, str(tls.certificate), hotkey, now)
        if tls.proxy_key is not None:
            yield _certificate(read_proxy(tls.proxy_key, now), "the proxy's certificate", hotkey, now)


def _certificate(about: CertificateLoaded, what: str, hotkey: str | None, now: Micros) -> Finding:
    names = f", for {', '.join(about.names)}" if about.names else ""
    until = "" if about.not_after is None else f", valid until {rfc3339(about.not_after)[:19]}Z"
    text = f"{what}: key {about.key}{names}{until}"
    if about.faults:
        return Finding("tls", "warning", text, "; ".join(about.faults))
    if about.not_after is not None and about.not_after - now < EXPIRY_WARNING:
        cure = "renew it, by `bettensor wallet certificate` or certbot: a running validator takes it at once"
        return Finding("tls", "warning", text, cure)
    of_others = [name for name in about.names if name != hotkey and is_hotkey(name)]
    if of_others and hotkey is not None:
        return Finding("tls", "warning", f"{text}; this hotkey is {hotkey}", "bettensor wallet certificate makes one")
    return Finding("tls", "ok", text)


async def _keys_shown(settings: MinerSettings, metagraph: Sequence[NeuronInfo]) -> AsyncIterator[Finding]:
    """The certificates of the validators that can be reached."""
    if settings.tls.mode == "off":
        yield Finding("tls", "ok", "off: predictions can be read on their way to validators (tls.mode)")
        return
    endpoints = {
        neuron.hotkey: neuron.axon for neuron in metagraph if is_wanted(neuron, settings.validators) and neuron.axon
    }
    shown = await asyncio.gather(*map(_shown_at, endpoints.values()))
    troubles = [*_keys_missed(settings, endpoints, shown)]
    for trouble in troubles:
        yield trouble
    if troubles:
        return
    found = [key for key in shown if key is not None]
    vouched = sum(key.vouched for key in found)
    text = (
        f"{len(found)} of {counted(len(endpoints), 'validator')} with TLS, {vouched} by an authority; the welcomes of "
    )
    yield Finding("tls", "ok", f"{text}the validators say which keys are theirs")


def _keys_missed(
    settings: MinerSettings, endpoints: Mapping[Hotkey, str], shown: "Iterable[Shown | None]"
) -> Iterator[Finding]:
    """The validators without the TLS, or without the key, that the settings demand."""
    for (hotkey, endpoint), key in zip(endpoints.items(), shown, strict=True):
        pinned = settings.tls.keys.get(hotkey)
        where = f"{hotkey} at {endpoint}"
        if pinned is not None and key is not None and key.key != pinned:
            text = f"{where} has the key {key.key}, and tls.keys pins {pinned}"
            yield Finding("tls", "failure", text, "compare it with the validator's operator, and correct tls.keys")
        elif key is None and (pinned is not None or settings.tls.mode == "required"):
            text = f"{where} has no TLS that can be reached from here, and tls.mode or tls.keys demands it"
            cure = "ask the validator's operator for TLS (axon.tls), or set tls.mode: auto and remove its key"
            yield Finding("tls", "warning", text, cure)


async def _shown_at(endpoint: str) -> "Shown | None":
    """What a TLS handshake at ``endpoint`` shows; None if there is no TLS."""
    from bettensor.neurons.edges.http_exchange import connected

    try:
        async with (
            asyncio.timeout(DIAL_TIMEOUT),
            connected(*split_endpoint(endpoint), Tls()) as connection,
        ):
            return connection.shown
    except (BettensorError, OSError, ValueError, TimeoutError):
        return None


def can_run(findings: Iterable[Finding]) -> bool:
    """Whether no check failed."""
    return all(finding.health != "failure" for finding in findings)


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """The findings as plain data."""
    return [asdict(finding) for finding in findings]


def text(findings: Iterable[Finding], width: int) -> Iterator[str]:
    """The findings for people, wrapped to ``width`` columns; a longer word stays whole."""
    marks = {"ok": "ok     ", "warning": "WARNING", "failure": "FAILURE", "unknown": "unknown"}
    for finding in findings:
        yield from _wrapped(f"{marks[finding.health]}  {finding.what:<13}  ", finding.text, width)
        if finding.cure and finding.health != "ok":
            yield from _wrapped("", finding.cure, width)


def _wrapped(head: str, text: str, width: int) -> Iterator[str]:
    """``text`` after ``head``, continued below in the same column."""
    for line in text.splitlines():
        for part in textwrap.wrap(line, max(width - INDENT, INDENT), break_long_words=False, break_on_hyphens=False):
            yield f"{head:{INDENT}}{part}"
            head = ""
