"""Records that are set aside under one name: each is there, and comes back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from fake_world import World
from hypercontainer.engine.state import Row, StateStore
from stories import Tell

LONG = "a" * 110


def good(name: str, data: str = "") -> bytes:
    return json.dumps({"kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": data}}).encode()


def records(w: World) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (w.config.root / "set-aside/records").iterdir()}


async def again(w: World) -> None:
    await w.engine.close()
    await w.open()


def test_long_names_that_begin_alike_are_two(tell: Tell) -> None:
    async def story(w: World) -> None:
        for end in "12":
            w.engine.real.state.put_object("ConfigMap", LONG + end, b'{"broken": ' + end.encode())
        await again(w)
        assert sorted(records(w).values()) == [b'{"broken": 1', b'{"broken": 2']
        for name, body in records(w).items():
            path = w.config.root / "set-aside/records" / name
            path.write_bytes(good(LONG + body[-1:].decode()))
        await again(w)
        assert records(w) == {}
        assert sorted(w.engine.real.state.objects("ConfigMap")) == [good(LONG + "1"), good(LONG + "2")]

    tell(story)


def test_one_that_is_aside_already_stays(tell: Tell) -> None:
    async def story(w: World) -> None:
        for body in (b"{1", b"{2", b"{2"):
            w.engine.real.state.put_object("ConfigMap", "x", body)
            await again(w)
        assert records(w) == {"objects-ConfigMap-x.json": b"{1", "objects-ConfigMap-x.json.1": b"{2"}
        for number, name in enumerate(("x.json.1", "x.json")):
            path = w.config.root / f"set-aside/records/objects-ConfigMap-{name}"
            path.write_bytes(good("x", f"{number}"))
            os.utime(path, (number, number))
        await again(w)  # the last written
        assert w.engine.real.state.objects("ConfigMap") == [good("x", "1")]
        assert records(w) == {"objects-ConfigMap-x.json.1": good("x", "0")}

    tell(story)


def test_what_an_earlier_release_has_set_aside_comes_back(tell: Tell) -> None:
    async def story(w: World) -> None:
        place = w.config.root / "set-aside/records"
        place.mkdir(parents=True)
        (place / f"objects-ConfigMap-{LONG[:100]}.json").write_bytes(good(LONG))
        await again(w)
        assert w.engine.real.state.objects("ConfigMap") == [good(LONG)]

    tell(story)


def test_it_is_on_the_disk_before_its_row_goes(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: set[Path] = set()
    before: list[set[Path]] = []
    sync, drop = os.fsync, StateStore.drop

    def fsync(fd: int) -> None:
        flushed.add(Path(os.readlink(f"/proc/self/fd/{fd}")))
        sync(fd)

    def dropped(state: StateStore, rows: Iterable[Row]) -> None:
        gone = list(rows)
        if gone:
            before.append(set(flushed))
        drop(state, gone)

    async def story(w: World) -> None:
        w.engine.real.state.put_object("ConfigMap", "x", b"{")
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(StateStore, "drop", dropped)
        await again(w)
        place = w.config.root / "set-aside/records"
        (found,) = before
        assert {place / "objects-ConfigMap-x.json", place, place.parent, w.config.root} <= found

    tell(story)
