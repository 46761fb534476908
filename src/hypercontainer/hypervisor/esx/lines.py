"""The VMs' serial ports, which their hosts lead to a port of this machine: console and agent of each.

ESX connects over TLS and names a service (``telnet``), of which each VM has two, with names that nobody can guess.  It
comes again when this process was away, or the VM has moved; the newest connection of a service counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from hypercontainer.errors import HypervisorError, Unavailable
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.esx.settings import Settings
from hypercontainer.hypervisor.esx.telnet import Telnet, escaped

GREETING_S = 20.0  # for TLS, and for what is said before the first byte of a port
MAX_STRANGERS = 64  # connections that have not said yet what they are for
_READ_BYTES = 65536
_DAYS = 3650


class Service:
    """One serial port: ``heard`` is given what comes from it while nobody has it open."""

    def __init__(self, name: str, heard: Callable[[bytes], None]) -> None:
        self.name = name
        self._heard = heard
        self._user: Pair | None = None
        self._line: asyncio.StreamWriter | None = None
        self._pump: asyncio.Task[None] | None = None
        self._room = asyncio.Event()

    async def open(self) -> Pair:
        """A new pair of streams to and from the port, in place of ``heard``; the former is over.  It outlives the
        host's connections: what is on its way between two of them is lost."""
        self.part()
        ours, theirs = socket.socketpair()
        self._user = await asyncio.open_connection(sock=ours)
        self._pump = asyncio.create_task(self._send(self._user[0]))
        return await asyncio.open_connection(sock=theirs)

    def part(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None
        if self._user is not None:
            self._user[1].transport.abort()
            self._user = None

    def close(self) -> None:
        self.part()
        if self._line is not None:
            self._line.transport.abort()
            self._line = None

    async def serve(
        self, telnet: Telnet, first: bytes, reader: asyncio.StreamReader, line: asyncio.StreamWriter
    ) -> None:
        """Until the host's connection has its end, or is followed by another."""
        if self._line is not None:
            self._line.transport.abort()
        self._line = line
        self._room.set()
        data: bytes | None = first
        try:
            while data is not None:
                if data:
                    await self._take(data)
                if answer := telnet.to_send():
                    line.write(answer)
                came = await reader.read(_READ_BYTES)
                data = telnet.receive(came) if came else None
        finally:
            if self._line is line:
                self._line = None
                self._room.clear()

    async def _take(self, data: bytes) -> None:
        if self._user is None:
            self._heard(data)
            return
        with contextlib.suppress(ConnectionError):
            self._user[1].write(data)
            await self._user[1].drain()

    async def _send(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_READ_BYTES):
            await self._room.wait()
            if self._line is not None:
                with contextlib.suppress(ConnectionError):
                    self._line.write(escaped(data))
                    await self._line.drain()


class Concentrator:
    """Listens while there are services."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        """``folder``: for a certificate of its own."""
        self._settings = settings
        self._folder = folder
        self._services: dict[str, Service] = {}
        self._server: asyncio.Server | None = None
        self._turn = asyncio.Lock()
        self._strangers = 0
        self._serving: set[asyncio.Task[None]] = set()

    async def address(self) -> str:
        """As the hosts are told it."""
        certificate, _ = await asyncio.to_thread(self._files)
        host, settings = self._settings.line_host, self._settings
        place = f"telnets://{f'[{host}]' if ':' in host else host}:{settings.line_port}"
        return f"{place}#thumbprint={thumbprint(certificate)}" if settings.line_pin else place

    async def add(self, name: str, heard: Callable[[bytes], None]) -> Service:
        """Raises ``Unavailable`` where this machine cannot listen."""
        async with self._turn:
            if self._server is None:
                self._server = await self._listen()
        service = self._services[name] = Service(name, heard)
        return service

    async def remove(self, service: Service) -> None:
        service.close()
        self._services.pop(service.name, None)
        if not self._services:
            await self.close()

    async def close(self) -> None:
        async with self._turn:
            server, self._server = self._server, None
            if server is not None:
                server.close()
                for task in self._serving:
                    task.cancel()
                await asyncio.gather(*self._serving, return_exceptions=True)
                await server.wait_closed()

    async def check(self) -> None:
        """That this machine can listen there; raises ``Unavailable``."""
        async with self._turn:
            if self._server is None:
                server = await self._listen()
                server.close()
                await server.wait_closed()

    async def _listen(self) -> asyncio.Server:
        settings = self._settings
        address, where = settings.line_address or None, f"{settings.line_address or '*'}:{settings.line_port}"
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*await asyncio.to_thread(self._files))
            return await asyncio.start_server(
                self._greet, address, settings.line_port, ssl=context, ssl_handshake_timeout=GREETING_S
            )
        except OSError as error:
            raise Unavailable(
                f"serial ports of VMs cannot be led to {where}: {error.strerror or error}",
                hint="line_port and line_address, line_certificate and line_key, in the configuration",
            ) from error

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with contextlib.suppress(OSError, HypervisorError, TimeoutError, asyncio.CancelledError):
                if (found := await self._introduced(reader, writer)) is not None:
                    await found[0].serve(found[1], found[2], reader, writer)
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def _introduced(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Service, Telnet, bytes] | None:
        """What a connection is for, and what of the port came with that."""
        if self._strangers >= MAX_STRANGERS:
            return None
        self._strangers += 1
        try:
            telnet = Telnet(self._services.__contains__)
            async with asyncio.timeout(GREETING_S):
                while not telnet.service:
                    writer.write(telnet.to_send())
                    came = await reader.read(_READ_BYTES)
                    if not came:
                        return None
                    data = telnet.receive(came)
            return self._services[telnet.service], telnet, data
        finally:
            self._strangers -= 1

    def _files(self) -> tuple[Path, Path]:
        """Certificate and key: the configuration's, or our own, made once.  Blocks; raises ``OSError``."""
        settings = self._settings
        if settings.line_certificate is not None and settings.line_key is not None:
            return settings.line_certificate, settings.line_key
        path = self._folder / "line.pem"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            new = self._folder / ".line.pem.new"
            with contextlib.suppress(FileNotFoundError):
                new.unlink()
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(own_certificate(settings.line_host))
            new.replace(path)
        return path, path


def own_certificate(host: str) -> bytes:
    """A key and a certificate that it has signed itself, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    try:
        known_as: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        known_as = x509.DNSName(host)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([known_as]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return secret + certificate.public_bytes(serialization.Encoding.PEM)


def thumbprint(path: Path) -> str:
    """As ESX writes it.  Raises ``OSError``, and ``Unavailable`` for what is no certificate."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise Unavailable(f"{path}: no certificate is in it") from error
    der = certificate.public_bytes(serialization.Encoding.DER)
    digest = hashlib.sha1(der, usedforsecurity=False).digest()
    return ":".join(f"{byte:02X}" for byte in digest)
