"""A data base in a named volume whose VM is killed at any moment: what it has acknowledged is there, and the volume is
whole each time."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audit import kill_process
from hyper import Hyper
from soak import rounds

RealImage = Callable[[str], str]

SEED = 20261129
READY = b"database system is ready to accept connections"
BENCH = "/usr/lib/postgresql/15/bin/pgbench"
# Each number is told once it is kept.
TELL = "seq {first} 100000000 | sed 's/.*/insert into told values (&) returning n;/' | psql -qAt"
SUMS = "select (select sum(abalance) from pgbench_accounts) - coalesce(sum(delta), 0), {} from pgbench_history".format(
    ", ".join(
        f"(select sum({each[0]}balance) from pgbench_{each}) - coalesce(sum(delta), 0)"
        for each in ("tellers", "branches")
    )
)


class Client:
    """Inserts one number after the other and hears of each; ``told``: the last one of which it has heard."""

    def __init__(self, hyper: Hyper, first: int) -> None:
        self.told = first - 1
        self._process = hyper.popen(
            "exec",
            "db",
            "sh",
            "-c",
            TELL.format(first=first),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.heard = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith(b"\n"):
                self.told = int(line)
                self.heard.set()

    def end(self) -> None:
        """When the VM has ended."""
        self._thread.join(60)
        self._process.communicate(timeout=60)


@pytest.fixture
def database(hyper: Hyper, real_image: RealImage) -> Iterator[Hyper]:
    volume = "/var/lib/postgresql"
    hyper("run", "-d", "--name", "db", "-m", "256m", "-v", f"kept:{volume}", real_image("postgres"))
    hyper.wait_for_log("db", READY)
    hyper("exec", "db", BENCH, "-q", "-i", "-s", "1", "postgres")
    sql(hyper, "create table told (n integer primary key)")
    yield hyper
    hyper("rm", "-f", "db")
    hyper("volume", "rm", "kept")


def sql(hyper: Hyper, text: str) -> str:
    return hyper.out("exec", "db", "psql", "-qAt", "-c", text)


def whole(disk: Path, copy: Path) -> None:
    """What a mount reads again of the journal makes a file system in which nothing is wrong."""
    subprocess.run(["cp", "--sparse=always", disk, copy], check=True)
    subprocess.run(["e2fsck", "-E", "journal_only", "-y", copy], capture_output=True)
    done = subprocess.run(["e2fsck", "-fn", copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    copy.unlink()


def test_nothing_that_was_acknowledged_is_lost(database: Hyper, tmp_path: Path) -> None:
    hyper, chance, told = database, random.Random(SEED), 0
    disk = Path(hyper.json("volume", "inspect", "kept")[0]["Mountpoint"])
    for turn in range(rounds(short=1, soak=30)):
        with hyper.popen(
            "exec", "db", BENCH, "-n", "-c", "4", "-T", "100000", "postgres", stderr=subprocess.DEVNULL
        ) as load:
            client = Client(hyper, told + 1)
            assert client.heard.wait(60)
            hyper.until(
                lambda: sql(hyper, "select exists(select from pgbench_history)") == "t", "a transaction"
            )
            threading.Event().wait(chance.uniform(0, 2))  # the moment is any
            assert kill_process(hyper.vm_pid("db"))
            client.end()
            load.communicate(timeout=60)
        told = client.told
        whole(disk, tmp_path / "copy")
        hyper("start", "db")
        hyper.wait_for_log("db", READY, times=turn + 2)
        kept = int(sql(hyper, "select count(*) from told"))
        assert kept >= told, f"{told} were acknowledged, {kept} are there"
        assert sql(hyper, "select max(n) from told") == str(kept)
        assert sql(hyper, SUMS) == "0|0|0"
        told = kept
