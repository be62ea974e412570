"""Whether a neuron could run as it is configured; what is wrong, and how to repair it. Changes nothing."""

import asyncio
import contextlib
import os
import resource
import shutil
import socket
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from email.parser import Parser
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

from bettensor.actors.miner.targets import is_wanted
from bettensor.actors.validator.announce import AnnounceSettings
from bettensor.actors.validator.auth import ValidatorAuthSettings
from bettensor.bus.errors import BettensorError, ConfigurationError
from bettensor.bus.events import NeuronInfo
from bettensor.neurons.cli import versions
from bettensor.neurons.cli.control_client import ask
from bettensor.neurons.config.settings import MinerSettings, Settings, ValidatorSettings

Health = Literal["ok", "warning", "failure", "unknown"]

ANSWER_TIMEOUT: Final = 60.0
"""Seconds for the answers of the chain; the first bring its metadata with them."""
DIAL_TIMEOUT: Final = 3.0
"""Seconds for one TCP connection, and for the answer on it."""
LEAST_SPACE: Final = 1 << 30
"""Bytes that should be free where the ledger grows."""
NO_SPACE: Final = 1 << 26
"""Bytes without which it does not grow for long."""
SPARE_FILES: Final = 256
"""Open files besides one for each connection."""
MAX_BEHIND: Final = 1.0
"""Seconds that this clock may be behind a block that is there already; validators refuse requests from 2 s ahead on."""
NEXT_BLOCK: Final = 15.0
"""Seconds within which a chain that works makes another block: at that moment its time is the best clock there is."""
LOOK_INTERVAL: Final = 0.5
"""Seconds between two looks for it."""
NEW_BLOCK_AGE: Final = 6.0
"""Seconds within which a block usually arrives here after its author has dated it."""
SLOT: Final = 12.0
"""Seconds between two blocks: one that has just come cannot be older."""
BLOCK_AGE: Final = 36.0
"""Seconds: the newest block of a chain that works is younger."""
INDENT: Final = 24
"""Columns before what is said of a finding."""
CLOCK_ERROR: Final = 2.0
"""Seconds between two clocks, above which requests are refused."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    health: Health
    text: str
    cure: str = ""


def examine(settings: Settings, where: str, make_client: Callable[[str], Any] | None = None) -> list[Finding]:
    """Look at everything that ``settings`` need.

    Args:
        settings: of either role.
        where: the file that they come from.
        make_client: makes a bittensor client; for tests.
    """
    return asyncio.run(_examine(settings, where, make_client))


async def _examine(settings: Settings, where: str, make_client: Callable[[str], Any] | None) -> list[Finding]:
    found = [_versions()]
    if found[0].health == "failure":
        return [*found, *_disk(settings.state_dir), _open_files(settings)]  # the rest would only fail by it
    found += [_parts(settings, where), *_disk(settings.state_dir), _open_files(settings)]
    hotkey, wallet = _wallet(settings)
    found.append(wallet)
    metagraph: list[NeuronInfo] | None = None
    async for finding, neurons in _metagraph(settings, make_client):
        metagraph = neurons if neurons is not None else metagraph
        found.append(finding)
    me = next((neuron for neuron in metagraph or () if neuron.hotkey == hotkey), None)
    if metagraph is not None and hotkey is not None:
        found.append(_registration(settings, hotkey, me))
    if isinstance(settings, ValidatorSettings):
        found += [finding async for finding in _port(settings, me)]
    elif isinstance(settings, MinerSettings) and metagraph is not None:
        found += [finding async for finding in _validators(settings, metagraph, hotkey)]
    return found


# --- this machine


def _versions() -> Finding:
    bittensor = versions.installed()
    text = f"bettensor {version('bettensor')}, bittensor {bittensor}, Python {sys.version.split()[0]}"
    if not versions.fits(bittensor):
        return Finding("versions", "failure", text, versions.CURE)
    return Finding("versions", "ok", text)


def _parts(settings: Settings, where: str) -> Finding:
    from bettensor.neurons.launch import check

    try:
        check(settings, where)
    except ConfigurationError as error:
        return Finding("configuration", "failure", str(error), "the message says where")
    return Finding("configuration", "ok", f"{where}: actors, handlers and files can be loaded")


def _disk(state_dir: Path) -> Iterator[Finding]:
    there = next(folder for folder in (state_dir, *state_dir.parents) if os.path.lexists(folder))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        cure = f"make it a folder that this user may write to, or choose another state_dir (of {state_dir})"
        yield Finding("disk", "failure", f"{there} cannot be written to", cure)
        return
    free = shutil.disk_usage(there).free
    if free < NO_SPACE:
        cure = "make room, or choose another state_dir: ledger and logs grow"
        yield Finding("disk", "failure", f"the disk of {state_dir} is full: {free >> 20} MiB are free", cure)
        return
    text = f"{state_dir} can be written to, {free / 2**30:.1f} GiB are free"
    if free < LEAST_SPACE:
        yield Finding("disk", "warning", text, "make room: ledger and logs grow")
    else:
        yield Finding("disk", "ok", text)


def _open_files(settings: Settings) -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = SPARE_FILES + (_max_connections(settings) if isinstance(settings, ValidatorSettings) else 0)
    text = f"{soft} files may be open at once, {needed} are needed"
    if soft < needed:
        cure = f"ulimit -n {needed}, LimitNOFILE={needed} in systemd, or a smaller actors.auth.max_connections"
        return Finding("open files", "failure", text, cure)
    return Finding("open files", "ok", text)


def _max_connections(settings: ValidatorSettings) -> int:
    """As it is set, or else its default: what cannot be one is told by the configuration."""
    try:
        return int(settings.actors["auth"]["max_connections"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return ValidatorAuthSettings().max_connections


def _wallet(settings: Settings) -> tuple[str | None, Finding]:
    from bettensor.neurons.edges.keys import load_hotkey

    wallet = settings.wallet
    try:
        hotkey: str = load_hotkey(wallet.name, wallet.hotkey, str(wallet.path)).ss58_address
    except ConfigurationError as error:
        return None, Finding("wallet", "failure", str(error), "the message says how")
    return hotkey, Finding("wallet", "ok", f"{wallet.name}/{wallet.hotkey} is {hotkey}")


# --- the subnet


async def _metagraph(
    settings: Settings, make_client: Callable[[str], Any] | None
) -> AsyncIterator[tuple[Finding, list[NeuronInfo] | None]]:
    static = settings.metagraph.static
    if static is not None:
        from bettensor.neurons.edges.static_files import read_metagraph

        with contextlib.suppress(ConfigurationError):  # told by the configuration
            neurons = list(read_metagraph(static).neurons)
            yield Finding("metagraph", "ok", f"{static}: {len(neurons)} neurons"), neurons
        yield Finding("clock", "unknown", "there is no chain to compare it with", "see that NTP runs"), None
        return
    from bettensor.neurons.edges.chain import make_client as real
    from bettensor.neurons.edges.chain import neurons_of

    chosen = settings.subtensor.chain_endpoint or settings.subtensor.network or ""
    client = (make_client or real)(chosen)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await client.connect()
            block = await client.block()
        yield Finding("chain", "ok", f"{chosen} answers, at block {block}"), None
        async with asyncio.timeout(NEXT_BLOCK + ANSWER_TIMEOUT):
            yield await _clock(client, block), None
        async with asyncio.timeout(ANSWER_TIMEOUT):
            metagraph = await client.subnets.metagraph(settings.netuid, commitments=False)
        if metagraph is None:
            cure = "set netuid, or subtensor.network, to where the subnet is"
            yield Finding("metagraph", "failure", f"there is no subnet {settings.netuid} on {chosen}", cure), None
        else:
            neurons = list(neurons_of(metagraph))
            yield Finding("metagraph", "ok", f"{len(neurons)} neurons on subnet {settings.netuid}"), neurons
    except Exception as error:  # noqa: BLE001 - bittensor raises errors of five libraries
        cure = "look at the network and at subtensor.chain_endpoint; a running neuron goes on with what it knew"
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        yield Finding("chain", "failure", f"{chosen} gives no answer: {reason}"[:400], cure), None
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await client.close()


async def _clock(client: Any, block: int) -> Finding:
    """Compare with a block at the moment when it is new: it is never from the future, and is seconds old."""
    deadline = time.monotonic() + NEXT_BLOCK
    while not (is_new := await client.block() > block) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_INTERVAL)
    block_time = await client.query(("Timestamp", "Now"))
    if not isinstance(block_time, int):
        return Finding("clock", "unknown", "the chain does not say what time it is", "see that NTP runs")
    age = time.time() - block_time / 1000
    cure = "let NTP set this clock: timedatectl set-ntp true, or chronyd"
    if age < -MAX_BEHIND:
        return Finding("clock", "failure", f"it is {-age:.1f} s behind the newest block", cure)
    if age > (SLOT if is_new else BLOCK_AGE):
        text = f"it is {age:.0f} s ahead of the newest block"
        return Finding("clock", "failure", text if is_new else f"{text}, or the chain stands still", cure)
    if not is_new:
        text = f"the newest block is {age:.0f} s old, and there is no other within {NEXT_BLOCK:.0f} s"
        return Finding("clock", "unknown", text, "look at the node; see that NTP runs")
    if age > NEW_BLOCK_AGE:
        return Finding("clock", "warning", f"it is {age:.1f} s ahead of a block that has just come", cure)
    return Finding("clock", "ok", f"a new block is {age:.1f} s old")


def _registration(settings: Settings, hotkey: str, me: NeuronInfo | None) -> Finding:
    if me is None:
        wallet = f"--wallet {settings.wallet.name} --wallet-hotkey {settings.wallet.hotkey}"
        cure = (
            f"register it: btcli subnets register --netuid {settings.netuid} {wallet}; a static metagraph must list it"
        )
        return Finding("registration", "failure", f"{hotkey} is not on subnet {settings.netuid}", cure)
    if isinstance(settings, ValidatorSettings) and not me.validator_permit:
        text = f"UID {me.uid} has no validator permit: miners connect to validators with a permit only"
        return Finding("registration", "failure", text, "stake more, or have miners name this hotkey in validators")
    return Finding("registration", "ok", f"UID {me.uid}" + (", with a permit" if me.validator_permit else ""))


# --- how they reach each other


async def _port(settings: ValidatorSettings, me: NeuronInfo | None) -> AsyncIterator[Finding]:
    axon = settings.axon
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_bound(axon.ip, axon.port)).listen()
            yield Finding("port", "ok", f"{axon.ip}:{axon.port} is free")
        except OSError as error:
            yield _taken(settings, error)
        if me is not None:
            yield await _endpoint(me.axon, settings)


def _taken(settings: ValidatorSettings, error: OSError) -> Finding:
    """The port cannot be bound: it may be this validator itself that has it."""
    where = f"{settings.axon.ip}:{settings.axon.port}"
    with contextlib.suppress(BettensorError):
        status = ask(settings.state_dir, {"ask": "status"})  # of a neuron that may be of an earlier release
        if (status.get("listening") or "").endswith(f":{settings.axon.port}"):
            return Finding("port", "ok", f"this validator runs (process {status['process']}), and listens on {where}")
    cure = "stop what uses it (ss -ltnp), choose another axon.port, or run this while the validator is stopped"
    return Finding("port", "failure", f"{where} cannot be bound: {error.strerror or error}", cure)


def _bound(ip: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(ip or None, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening


async def _endpoint(told: str | None, settings: ValidatorSettings) -> Finding:
    announced = None if settings.metagraph.static else _announced(settings)
    endpoint = announced or told
    if endpoint is None:
        cure = "set axon.external_ip, so that the chain is told; in a static metagraph set axon"
        return Finding("endpoint", "failure", "the metagraph does not say where this validator is", cure)
    port = settings.axon.external_port or settings.axon.port
    if announced is None and port and int(endpoint.rpartition(":")[2]) != port:
        cure = "set axon.external_ip, so that the chain is told, or set axon.port or axon.external_port"
        return Finding("endpoint", "failure", f"the metagraph says {told}, and the port is {port}", cure)
    error = await _dial(endpoint)
    if error is not None:
        text = f"{endpoint}, where miners should find this validator, cannot be reached from here: {error}"
        cure = "open the port in the firewall, forward it; a router that does not lead back inside is no fault"
        return Finding("endpoint", "warning", text, cure)
    if endpoint != told:
        text = f"the metagraph says {told or 'nothing'}, and this validator is to be at {endpoint}"
        return Finding("endpoint", "warning", text, "start it: it tells the chain; miners follow with their next sync")
    return Finding("endpoint", "ok", f"{endpoint} can be reached")


def _announced(settings: ValidatorSettings) -> str | None:
    return AnnounceSettings(axon=settings.axon).endpoint()


async def _validators(
    settings: MinerSettings, metagraph: Iterable[NeuronInfo], own: str | None
) -> AsyncIterator[Finding]:
    chosen = settings.validators
    wanted = [neuron for neuron in metagraph if is_wanted(neuron, chosen) and neuron.hotkey != own]
    for hotkey in chosen:
        if hotkey not in [neuron.hotkey for neuron in wanted]:
            yield Finding("validators", "warning", f"{hotkey} is not in the metagraph", "correct validators")
    endpoints = {neuron.hotkey: neuron.axon for neuron in wanted if neuron.axon is not None}
    answers = dict(zip(endpoints, await asyncio.gather(*map(_visit, endpoints.values())), strict=True))
    for hotkey, answer in answers.items():
        if isinstance(answer, str):
            text = f"{hotkey} at {endpoints[hotkey]} cannot be reached: {answer}"
            yield Finding("validators", "warning", text, "ask its operator; look at the network here")
    reached = [answer for answer in answers.values() if not isinstance(answer, str)]
    silent = len(wanted) - len(endpoints)
    count = f"of {len(wanted)}" + (f" ({silent} have no endpoint in the metagraph)" if silent else "")
    if reached:
        yield Finding("validators", "ok", f"{len(reached)} {count} can be reached")
    else:
        cure = "wait for one, or correct validators; look at the network here"
        yield Finding("validators", "failure", f"none {count} can be reached", cure)
    ahead = [answer for answer in reached if answer is not None]
    if ahead and abs(median(ahead)) > CLOCK_ERROR:
        which = "ahead of" if median(ahead) > 0 else "behind"
        text = f"it is {abs(median(ahead)):.0f} s {which} the validators' clocks: they refuse what is signed by it"
        yield Finding("clock", "failure", text, "let NTP set this clock: timedatectl set-ntp true, or chronyd")


async def _dial(endpoint: str) -> str | None:
    """Why there is no TCP connection; None where there is."""
    answer = await _visit(endpoint)
    return answer if isinstance(answer, str) else None


async def _visit(endpoint: str) -> str | float | None:
    """Seconds that this clock is ahead of the one there; None where it tells no time; why nobody is there."""
    host, _, port = endpoint.rpartition(":")
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError:
        return f"no answer in {DIAL_TIMEOUT:.0f} s"
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or 0
        return os.strerror(number) if number > 0 else str(error)
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            writer.write(f"GET /ws/health HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        told = Parser().parsestr(head.partition("\r\n")[2]).get("date", "")
        return time.time() - parsedate_to_datetime(told).timestamp() - 0.5  # it tells whole seconds
    except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    finally:
        writer.close()


def can_run(findings: Iterable[Finding]) -> bool:
    """Whether nothing stands in the way."""
    return all(finding.health != "failure" for finding in findings)


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """The findings as plain data."""
    return [asdict(finding) for finding in findings]


def text(findings: Iterable[Finding], width: int) -> Iterator[str]:
    """The findings for people, in so many columns where their words are not longer."""
    marks = {"ok": "ok     ", "warning": "WARNING", "failure": "FAILURE", "unknown": "unknown"}
    for finding in findings:
        yield from _wrapped(f"{marks[finding.health]}  {finding.what:<13}  ", finding.text, width)
        if finding.cure and finding.health != "ok":
            yield from _wrapped("", finding.cure, width)


def _wrapped(head: str, text: str, width: int) -> Iterator[str]:
    """Behind ``head``, and below it in the same column."""
    for line in text.splitlines():
        for part in textwrap.wrap(line, max(width - INDENT, INDENT), break_long_words=False, break_on_hyphens=False):
            yield f"{head:{INDENT}}{part}"
            head = ""
