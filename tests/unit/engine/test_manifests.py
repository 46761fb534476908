"""What a manifest changes, and what is told of it: fewer pods, replacing, kinds that are not known, dry runs."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from fake_process import PROGRAMS, FakeProcess
from fake_world import IMAGE, World
from free_port import free_port
from hypercontainer.contract.answers import Played
from hypercontainer.contract.volumes import NamedVolume, Volume, VolumeMount
from hypercontainer.errors import InvalidArgument, NotFound
from stories import Tell, member, pod


def deployment(replicas: int, name: str = "web", command: str = "[cat]") -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers: [{{name: c, image: "{IMAGE}", imagePullPolicy: Never, command: {command}, stdin: true}}]
"""


def plain_pod(name: str = "p", spec: str = "") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  containers: [{{name: c, image: "{IMAGE}", imagePullPolicy: Never, command: [cat], stdin: true}}]
  {spec}
"""


MAP = "{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}, data: {A: %s}}"
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
"""
SERVICE = (
    "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {selector: {app: web}, ports: [{port: %d}]}}"
)
FOREIGN = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: front}, spec: {rules: []}}
---
{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot}}]}
"""


def actions(played: list[Played]) -> dict[str, str]:
    return {f"{one.kind.lower()}/{one.name}": one.action for one in played}


async def pods(w: World) -> set[str]:
    return {one.name for one in await w.engine.pods.find()}


def together(*texts: str) -> str:
    return "\n---\n".join(texts)


def test_fewer_and_more_replicas(tell: Tell) -> None:
    async def story(w: World) -> None:
        play = w.engine.manifests.play
        assert actions(await play(deployment(3))) == {"deployment/web": "created"}
        (told,) = await play(deployment(1))
        assert (told.action, told.pods, told.removed) == ("changed", ("web-0",), ("web-1", "web-2"))
        assert await pods(w) == {"web-0"}
        assert actions(await play(deployment(1))) == {"deployment/web": "unchanged"}
        (told,) = await play(deployment(2))
        assert (told.action, told.pods, told.removed) == ("changed", ("web-0", "web-1"), ())
        assert await pods(w) == {"web-0", "web-1"}
        (told,) = await play(deployment(0))
        assert (told.action, told.removed) == ("changed", ("web-0", "web-1"))
        assert actions(await play(deployment(0))) == {"deployment/web": "unchanged"}

    tell(story)


def test_down_takes_what_was_made_of_an_earlier_text(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.manifests.play(deployment(3))
        await w.engine.manifests.play(deployment(2, "other"))
        await pod(w, member("x"), name="mine")
        (told,) = await w.engine.manifests.down(deployment(1))
        assert (told.action, set(told.pods)) == ("removed", {"web-0", "web-1", "web-2"})
        assert await pods(w) == {"other-0", "other-1", "mine"}

    tell(story)


def test_pods_that_an_earlier_release_made_come_to_know_whose_they_are(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.manifests.play(deployment(2))
        for held in [await w.engine.pods.held(name) for name in ("web-0", "web-1")]:
            held.change_spec(msgspec.structs.replace(held.record.spec, owner=""))
        assert actions(await w.engine.manifests.play(deployment(2))) == {"deployment/web": "unchanged"}
        (told,) = await w.engine.manifests.play(deployment(1))
        assert told.removed == ("web-1",)

    tell(story)


def stubborn(all_asked: asyncio.Barrier) -> Any:
    """Ends when each of its kind was asked to."""

    async def program(process: FakeProcess) -> int:
        process.catches = frozenset({15})
        await process.signals.get()
        await all_asked.wait()
        return 0

    return program


def test_pods_end_at_once(tell: Tell) -> None:
    async def story(w: World) -> None:
        w.driver.programs = {**PROGRAMS, "stubborn": stubborn(asyncio.Barrier(3))}
        await w.engine.manifests.play(deployment(3, command="[stubborn]"))
        await w.engine.manifests.down(deployment(3))
        assert await pods(w) == set()

    tell(story)


def test_replace_replaces_what_is_the_same_but_no_volume(tell: Tell) -> None:
    async def story(w: World) -> None:
        text = together(MAP % ("m", "a"), CLAIM, plain_pod())
        made = {"configmap/m": "created", "persistentvolumeclaim/data": "created", "pod/p": "created"}
        assert actions(await w.engine.manifests.play(text)) == made
        before = (await w.engine.pods.inspect("p")).id, (await w.engine.volumes.inspect("data")).created
        assert set(actions(await w.engine.manifests.play(text)).values()) == {"unchanged"}
        replaced = {"configmap/m": "replaced", "persistentvolumeclaim/data": "unchanged", "pod/p": "replaced"}
        assert actions(await w.engine.manifests.play(text, replace=True)) == replaced
        after = (await w.engine.pods.inspect("p")).id, (await w.engine.volumes.inspect("data")).created
        assert (before[0] != after[0], before[1]) == (True, after[1])

    tell(story)


def test_an_image_that_is_not_there_leaves_what_would_be_replaced(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.manifests.play(plain_pod())
        before = (await w.engine.pods.inspect("p")).id
        with pytest.raises(NotFound):
            await w.engine.manifests.play(plain_pod().replace(IMAGE, "localhost/none:1"), replace=True)
        assert (await w.engine.pods.inspect("p")).id == before

    tell(story)


def test_a_dry_run_tells_what_would_be_and_does_nothing(tell: Tell) -> None:
    async def story(w: World) -> None:
        service = SERVICE % free_port()
        await w.engine.manifests.play(together(MAP % ("m", "a"), service, deployment(2)))
        text = together(MAP % ("m", "b"), MAP % ("more", "c"), CLAIM, service, deployment(1), plain_pod())
        told = await w.engine.manifests.play(text, dry_run=True)
        assert actions(told) == {
            "configmap/m": "replaced",
            "configmap/more": "created",
            "persistentvolumeclaim/data": "created",
            "service/s": "unchanged",
            "deployment/web": "changed",
            "pod/p": "created",
        }
        assert await pods(w) == {"web-0", "web-1"}
        assert await w.engine.volumes.find() == []
        assert await w.engine.manifests.play(text, dry_run=True) == told
        assert await w.engine.manifests.play(text) == told

        removed = await w.engine.manifests.down(text, dry_run=True)
        assert actions(removed) == {
            "configmap/m": "removed",
            "configmap/more": "removed",
            "persistentvolumeclaim/data": "kept",
            "service/s": "removed",
            "deployment/web": "removed",
            "pod/p": "removed",
        }
        assert await pods(w) == {"web-0", "p"}
        assert await w.engine.manifests.down(text) == removed
        assert actions(await w.engine.manifests.down(text, volumes=True)) == {
            "persistentvolumeclaim/data": "removed"
        }
        assert await w.engine.manifests.down(text, volumes=True) == []

    tell(story, networks=True)


def test_kinds_that_are_not_known_are_named_at_once_or_passed_over(tell: Tell) -> None:
    async def story(w: World) -> None:
        text = together(FOREIGN, plain_pod())
        with pytest.raises(InvalidArgument) as raised:
            await w.engine.manifests.play(text)
        for named in ("Namespace/shop", "Ingress/front", "document 3, List, items[0], ServiceAccount/robot"):
            assert named in raised.value.message
        (remedy,) = raised.value.remedies
        assert (remedy.call, remedy.options) == ("manifests.play", {"skip_unsupported": True})
        assert await pods(w) == set()

        told = await w.engine.manifests.play(text, skip_unsupported=True)
        skipped = dict.fromkeys(("namespace/shop", "ingress/front", "serviceaccount/robot"), "skipped")
        assert actions(told) == {"pod/p": "created", **skipped}
        assert all(one.warnings for one in told if one.action == "skipped")
        assert actions(await w.engine.manifests.down(text)) == {"pod/p": "removed", **skipped}

    tell(story)


def test_warnings_stand_with_the_object_that_they_are_of(tell: Tell) -> None:
    async def story(w: World) -> None:
        told = await w.engine.manifests.play(together(CLAIM, plain_pod(spec="priority: 3")))
        assert [(one.kind, one.action, len(one.warnings)) for one in told] == [
            ("PersistentVolumeClaim", "created", 0),
            ("Pod", "created", 1),
        ]
        assert told[1].warnings[0].startswith("Pod/p: spec.priority")

    tell(story)


def test_down_needs_nothing_that_the_pods_refer_to(tell: Tell) -> None:
    async def story(w: World) -> None:
        words = MAP % ("words", "x")
        reader = plain_pod("reads", "volumes: [{name: v, configMap: {name: words}}]")
        await w.engine.manifests.play(words)
        await w.engine.manifests.play(reader)
        await w.engine.manifests.down(words)
        assert actions(await w.engine.manifests.down(reader)) == {"pod/reads": "removed"}

    tell(story)


def test_what_is_kept_may_come_to_more_than_one_manifest(tell: Tell) -> None:
    async def story(w: World) -> None:
        for number in range(5):
            await w.engine.manifests.play(MAP % (f"m{number}", "x" * 1_000_000))
        assert actions(await w.engine.manifests.play(plain_pod())) == {"pod/p": "created"}

    tell(story)


def test_volumes_of_a_stateful_set_go_with_the_others_when_that_is_wanted(tell: Tell) -> None:
    text = deployment(2, "db").replace("Deployment", "StatefulSet")
    template = "{metadata: {name: data}, spec: {resources: {requests: {storage: 64Mi}}}}"
    text = text.replace("  template:", f"  volumeClaimTemplates: [{template}]\n  template:")

    async def story(w: World) -> None:
        await w.engine.manifests.play(text)
        volumes = {one.name for one in await w.engine.volumes.find()}
        assert volumes == {"data-db-0", "data-db-1"}
        await w.engine.manifests.down(text)
        assert {one.name for one in await w.engine.volumes.find()} == volumes
        await w.engine.manifests.down(text, volumes=True)
        assert await w.engine.volumes.find() == []

    tell(story)


def test_what_is_written_down_can_be_played(tell: Tell) -> None:
    async def story(w: World) -> None:
        volumes = (Volume("v", NamedVolume("new")),)
        wish = member(
            "solo", stop_signal="2", volumes=volumes, mounts=(VolumeMount("v", "/v"),), **w.spec_defaults
        )
        await w.engine.containers.create(wish)
        text = await w.engine.manifests.generate(["solo"])
        assert "stopSignal: SIGINT" in text
        await w.engine.containers.remove("solo")
        await w.engine.volumes.remove("new")
        told = await w.engine.manifests.play(text, start=False)
        assert actions(told) == {"persistentvolumeclaim/new": "created", "pod/solo": "created"}

    tell(story)
