"""The process that carries a tap device of a network namespace to the host's network: one of ``usernet``, which
outlives who started it.

Its run directory says where it is found: its sockets, what it is told of the host, and a record of which process it is.
Calls block.  ``OSError``, and ``HyperError`` where it cannot begin.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError, Unavailable
from hypercontainer.hypervisor import jail, resolver, usernet
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.launching import held, last_line, stdio
from hypercontainer.hypervisor.run_dir import RunDir, read_stderr
from hypercontainer.hypervisor.spec import UserNat
from hypercontainer.linux import unix
from hypercontainer.linux.process import Identity, Process

RECORD = "carrier.json"
_ANSWER_BYTES = 512


class Carrier:
    """``folder``: its run directory; ``facts``: what was found out about this host."""

    def __init__(self, folder: Path, facts: Path) -> None:
        self._run, self._facts = RunDir(folder), FactCache(facts)
        self._record = folder / RECORD
        self._control = self._run.network(0)

    @property
    def identity(self) -> Identity | None:
        """None where there is none that lives."""
        if (process := self._process()) is None:
            return None
        try:
            return None if process.ended() else process.identity
        finally:
            process.close()

    def _process(self) -> Process | None:
        try:
            identity = msgspec.json.decode(self._record.read_bytes(), type=Identity)
        except (OSError, ValueError):
            return None
        return Process.open(identity)

    def start(self, tap: int, guest_cidr: str, gateway: str, dns: str) -> None:
        """``tap`` is a descriptor of the device, which has ``guest_cidr``; nothing is left of what fails."""
        self.end()
        self._run.create()
        try:
            asyncio.run(self._start(tap, UserNat(guest_cidr=guest_cidr, gateway=gateway, dns=dns)))
        except BaseException:
            self.end()
            raise

    async def _start(self, tap: int, network: UserNat) -> None:
        run, means = self._run, await jail.means(self._facts)
        with contextlib.ExitStack() as fds:
            listener = fds.enter_context(unix.listen(self._control, kind=socket.SOCK_SEQPACKET))
            resolver.tell(run)
            self.offer(())
            streams = stdio(run, fds)
            words = run.open_stderr()
            fds.callback(os.close, words)
            gate, process = await held(
                usernet.argv(network, run, means, tap=True),
                environment={},
                rights=await usernet.rights(network, run, means, None),
                means=means,
                stdio=streams,
                inherited=[tap, listener.fileno()],
                fds=fds,
            )
            fds.callback(process.close)
            self._record.write_bytes(msgspec.json.encode(process.identity))
            gate.open()
            listener.close()  # one that has died is noticed
            try:
                await usernet.ready(self._control)
            except HypervisorError as error:
                said = last_line(read_stderr(words).decode(errors="replace"))
                raise Unavailable(
                    f"the way out of networks did not begin: {said or error.message}"
                ) from error

    def end(self) -> None:
        """Nothing is left of it; nothing happens where it is gone."""
        if (process := self._process()) is not None:
            process.kill()
            process.wait_now()
            process.close()
        self._run.remove()

    # ------------------------------------------------------------------------------------- ports

    def forwards(self) -> list[PortMapping]:
        """Those that are there; a ``container_port`` is one of the device's address."""
        found: list[PortMapping] = []
        with self._asking() as ask:
            while (answer := ask(f"forward {len(found)}")).startswith("ok "):
                _, protocol, host, port, _, own = answer.split()
                found.append(PortMapping(int(own), int(port), host, protocol))
        return found

    def add(self, ports: Sequence[PortMapping]) -> None:
        """All or none.  Unavailable where one is not to be had."""
        done: list[PortMapping] = []
        try:
            with self._asking() as ask:
                for port in ports:
                    if problem := usernet.problem_in(ask(usernet.adding(port))):
                        raise usernet.refused(port, problem)
                    done.append(port)
        except BaseException:
            self.remove(done)
            raise

    def remove(self, ports: Iterable[PortMapping]) -> None:
        """Nothing happens where they are gone, or nobody is there who has any."""
        with contextlib.suppress(OSError), self._asking() as ask:
            for port in ports:
                ask(usernet.removing(port))

    def offer(self, ports: Collection[int]) -> None:
        """These TCP ports of the host's loopback address and no others are reached, at the gateway.
        Whole, whoever reads them meanwhile."""
        new = self._run.offers.with_suffix(".new")
        new.write_text("".join(f"{port}\n" for port in sorted(ports)))
        new.chmod(0o644)
        new.replace(self._run.offers)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Callable[[str], str]]:
        with contextlib.closing(unix.connect(self._control, kind=socket.SOCK_SEQPACKET)) as client:
            client.settimeout(usernet.DEADLINE_S)

            def ask(request: str) -> str:
                client.send(request.encode())
                if answer := client.recv(_ANSWER_BYTES):
                    return answer.decode(errors="replace")
                raise ConnectionResetError("the way out of networks has ended")

            yield ask
