"""The validator's certificate: read at the start, and again when its files change, without a session noticing.

A connection keeps the certificate by which it was opened; the next handshake gets the newest one. New files that cannot
be used change nothing, and the log says so; a certificate that is not valid yet is taken when it is.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bettensor.bus.clock import Clock, SystemClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import CertificateLoaded, CertificateRefused
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.neurons.config.settings import CertificateSettings, ListeningSettings, ValidatorSettings
from bettensor.neurons.edges.certificate_files import CERTIFICATE, PROXY_KEY, Served, read_proxy, read_served
from bettensor.neurons.edges.edge import Edge, Plan
from bettensor.neurons.edges.tls import ServerContext
from bettensor.neurons.edges.watches import SETTLE, watched_changes
from bettensor.neurons.system.files import Sight, look_at

LOOK: Final = 60.0
"""Seconds between two looks at the clock while a new certificate is not valid yet: the clock may be set meanwhile."""


class Certificates(Edge):
    """Has the context for the next TLS handshake, and publishes which key is in force."""

    name = "certificates"

    def __init__(self, axon: ListeningSettings, clock: Clock) -> None:
        self._settings = axon.tls
        self._clock = clock
        self._served: Served | None = None
        self._told: dict[bool, CertificateLoaded] = {}
        """What was published last, of the proxy's certificate and of our own."""
        self._is_refused = False
        self._reading = asyncio.Lock()
        self._awaited: Micros | None = None
        """When the files are to be read again though they have not changed."""

    @classmethod
    def check(cls, plan: Plan) -> Iterator[str]:
        """The faults with which the files would be used.

        Raises:
            ConfigurationError: they cannot be used.
        """
        assert isinstance(plan.settings, ValidatorSettings)  # noqa: S101 - for the type checker: a miner has none
        settings, now = plan.settings.axon.tls, SystemClock().wall()
        served = None if settings.certificate is None else read_served(*_pair(settings), now)
        proxys = None if settings.proxy_key is None else read_proxy(settings.proxy_key, now)
        if served is not None:
            yield from (f"{CERTIFICATE}: {settings.certificate}: {fault}" for fault in served.about.faults)
        if proxys is not None:
            yield from (f"{PROXY_KEY}: {settings.proxy_key}: {fault}" for fault in proxys.faults)

    @property
    def serves(self) -> bool:
        """Whether this validator speaks TLS itself."""
        return self._settings.certificate is not None

    def context(self) -> ServerContext | None:
        """For the next handshake."""
        return None if self._served is None else self._served.context

    async def open(self) -> None:
        """Read the files, and follow them from then on.

        Raises:
            ConfigurationError: they cannot be used.
        """
        seen = look_at(self._files())
        self._take(*await asyncio.to_thread(self._read))
        self._tasks.start(self._follow(seen), "certificates")

    async def close(self) -> None:
        """Follow the files no longer."""
        await self._tasks.cancel()

    async def _follow(self, seen: Sight) -> None:
        async for _ in watched_changes(self._bus, self._files, seen):
            await self._read_again()

    async def _read_again(self) -> None:
        async with self._reading:
            self._awaited = None
            try:
                read = await self._read_settled()
            except ConfigurationError as error:
                self._refuse(str(error))
                return
            self._take_unless_worse(*read)

    async def _read_settled(self) -> tuple[Served | None, CertificateLoaded | None]:
        try:
            return await asyncio.to_thread(self._read)
        except ConfigurationError:
            await asyncio.sleep(SETTLE)  # programs that renew a certificate write its two files one after the other
            return await asyncio.to_thread(self._read)

    def _take_unless_worse(self, served: Served | None, proxys: CertificateLoaded | None) -> None:
        old, now = self._served, self._clock.wall()
        if served is None or old is None or served.is_valid(now) or not old.is_valid(now):
            self._take(served, proxys)
            return
        self._refuse(f"{CERTIFICATE}: {self._settings.certificate}: {served.about.faults[0]}")
        if now < served.not_before:
            self._awaited = min(served.not_before, old.about.not_after or served.not_before)
            self._tasks.start(self._read_at(self._awaited), "certificate to come")

    async def _read_at(self, instant: Micros) -> None:
        """Read the files when the new certificate becomes valid, or the old one expires."""
        while (left := instant - self._clock.wall()) > 0:  # noqa: ASYNC110 - no event tells of the passing of time
            await asyncio.sleep(min(left / SECOND, LOOK))
        if self._awaited == instant:  # the files have not changed meanwhile
            await self._read_again()

    def _read(self) -> tuple[Served | None, CertificateLoaded | None]:
        """Our own certificate, and the proxy's."""
        settings, now = self._settings, self._clock.wall()
        served = None if settings.certificate is None else read_served(*_pair(settings), now)
        return served, None if settings.proxy_key is None else read_proxy(settings.proxy_key, now)

    def _take(self, served: Served | None, proxys: CertificateLoaded | None) -> None:
        self._served = served
        for about in (None if served is None else served.about, proxys):
            if about is not None and (self._is_refused or self._told.get(about.of_proxy) != about):
                self._told[about.of_proxy] = about
                self._bus.publish(about)
        self._is_refused = False

    def _refuse(self, reason: str) -> None:
        self._is_refused = True
        self._bus.publish(CertificateRefused(reason))

    def _files(self) -> list[Path]:
        settings = self._settings
        return [file for file in (settings.certificate, settings.key, settings.proxy_key) if isinstance(file, Path)]


def _pair(settings: CertificateSettings) -> tuple[Path, Path]:
    assert settings.certificate is not None  # noqa: S101 - for the type checker: they are set together
    assert settings.key is not None  # noqa: S101 - for the type checker
    return settings.certificate, settings.key
