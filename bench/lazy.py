"""The first word of a program that needs 30 MB of an image of 1 GiB, from a registry that sends 20 MB/s: beside the
same with all of the image pulled first."""

from __future__ import annotations

import random
import subprocess
import time
from functools import partial

import busybox_image
import stargz
from bench.measure import Row, figures_in_turns, median, spread
from fake_registry import Fake
from hyper import NO_POOL, Hyper, hyper

MB = 1_000_000
NEEDED_BYTES, IMAGE_BYTES, FILE_BYTES = 30 * MB, 1 << 30, 4 * MB
BYTES_PER_S = 20 * MB
LIMIT_S = 4.0
ROUNDS = 3
WHOLE = '[images]\nlazy = "off"\n'
# It reads all and says so.  Counting the bytes would be the time of an emulated processor, 5 s of it for 30 MB.
SCRIPT, WORD = "cat /needed/* > /dev/null && echo read", b"read\n"


def _layers(fmt: str) -> list[stargz.Made]:
    """Half of what is needed is large files, half is small ones."""
    make = getattr(stargz, fmt)
    source = random.Random(1)
    needed = [stargz.folder("needed")]
    needed += [stargz.Item(f"needed/large{n}", source.randbytes(5 * MB)) for n in range(3)]
    needed += [stargz.Item(f"needed/small{n}", source.randbytes(15_000)) for n in range(1000)]
    rest = (IMAGE_BYTES - NEEDED_BYTES) // FILE_BYTES
    other = [stargz.folder("other")]
    other += [stargz.Item(f"other/{n}", source.randbytes(FILE_BYTES)) for n in range(rest)]
    half = len(other) // 2
    # What is needed lies among what is not.
    return [
        make(stargz.items_of(busybox_image.layer()), level=1),
        make([*other[:half], *needed, *other[half:]], level=1),
    ]


def _first_word_s(made: Hyper, reference: str) -> float:
    """From the command to its output; the image is gone before."""
    if made.out("images", "-q", reference):
        made("rmi", "-f", reference)
    made("system", "prune", "-af")
    return _word_s(made, reference)


def _word_s(made: Hyper, reference: str) -> float:
    begin = time.perf_counter()
    with made.popen("run", "--rm", reference, "sh", "-c", SCRIPT, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        word = client.stdout.readline()
        taken = time.perf_counter() - begin
        assert word == WORD, word
    return taken


def measure(rounds: int, drivers: tuple[str, ...] = ("uml", "qemu")) -> list[Row]:
    rows = []
    for fmt in ("stargz", "chunked"):
        with Fake() as registry:
            registry.add_layers("1", *_layers(fmt), config={"Env": ["PATH=/bin:/usr/bin"]})
            registry.bytes_per_s = BYTES_PER_S
            reference = f"{registry.host}/large:1"
            rows += [_row(f"{fmt}, {each}", reference, each, min(rounds, ROUNDS)) for each in drivers]
    return rows


def _row(name: str, reference: str, driver: str, rounds: int) -> Row:
    with hyper(NO_POOL, hypervisor=driver) as lazy, hyper(NO_POOL + WHOLE, hypervisor=driver) as whole:
        for made in (lazy, whole):
            made("load", stdin=busybox_image.archive([busybox_image.layer()]))
            made("run", "--rm", busybox_image.REFERENCE, "true")
        whole_s, here_s = _first_word_s(whole, reference), _word_s(whole, reference)
        taken = figures_in_turns(rounds, {"lazy": partial(_first_word_s, lazy, reference)})["lazy"]
    return Row(
        f"first output of a 1 GiB image that needs 30 MB, {name}",
        median(taken),
        "s",
        LIMIT_S,
        f"whole pull first: {whole_s:.1f} s, all here already: {here_s:.1f} s (once); {spread(taken)}",
        tuple(taken),
    )
