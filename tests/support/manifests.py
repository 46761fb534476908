"""Kubernetes' manifests for the tests with real guests: written in Python, or taken from the golden ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

import busybox_image
from hyper import Hyper

GOLDEN = Path(__file__).parents[1] / "golden" / "kube"
FOREVER = "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"

Document = dict[str, Any]


def container(name: str, script: str = FOREVER, **more: Any) -> Document:
    """Of busybox; ``more`` are its other fields."""
    return {
        "name": name,
        "image": busybox_image.REFERENCE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        **more,
    }


def pod(name: str, *containers: Document, **spec: Any) -> Document:
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 2, **spec}
    return thing("v1", "Pod", name, spec={**spec, "containers": list(containers)})


def thing(version: str, kind: str, name: str, **fields: Any) -> Document:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


def claim(name: str) -> Document:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
    return thing("v1", "PersistentVolumeClaim", name, spec=spec)


def golden(
    name: str,
    scripts: Mapping[str, str],
    change: Callable[[Document], None] = lambda _: None,
) -> list[Document]:
    """A golden manifest with busybox for all its images.  ``scripts``: what containers run, of which the manifest's
    ``args`` are the arguments; those without go on until they are ended.  ``change`` gets each pod's ``spec``."""
    text = (GOLDEN / f"{name}.yaml").read_text().replace(" 0o", " 0")  # PyYAML's octal numbers are YAML 1.1's
    documents = list(yaml.safe_load_all(text))
    documents = [one for each in documents for one in each.get("items", [each])]
    for one in documents:
        spec = one.get("spec", {})
        spec = spec["template"]["spec"] if "template" in spec else spec
        if "containers" not in spec:
            continue
        for member in [*spec.get("initContainers", ()), *spec["containers"]]:
            own = container("x", scripts.get(member["name"], FOREVER))
            busybox = member["image"].startswith("localhost/busybox")
            if busybox and "command" in member and member["name"] not in scripts:
                del own["command"]
            elif "args" in member:
                own["command"].append("sh")
            member |= own | {"name": member["name"]}
        spec.setdefault("terminationGracePeriodSeconds", 2)
        change(spec)
    return documents


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


class Cluster:
    """Plays manifests with the command line, and takes away what it played."""

    def __init__(self, hyper: Hyper) -> None:
        self.hyper = hyper
        self._played: list[bytes] = []

    def play(self, *documents: Document, flags: tuple[str, ...] = ()) -> dict[str, str]:
        """What became of each object: "kind/name" -> what was done."""
        text = manifest(*documents)
        self._played.append(text)
        found = json.loads(self.hyper.out("play", "--format", "json", *flags, "-", stdin=text))
        return {f"{one['kind'].lower()}/{one['name']}": one["action"] for one in found if one["name"]}

    def down(self, *documents: Document, flags: tuple[str, ...] = ()) -> dict[str, str]:
        text = manifest(*documents)
        found = json.loads(self.hyper.out("down", "--format", "json", *flags, "-", stdin=text))
        return {f"{one['kind'].lower()}/{one['name']}": one["action"] for one in found}

    def refused(self, *documents: Document) -> str:
        done = self.hyper("play", "-", stdin=manifest(*documents), check=False)
        assert done.returncode != 0, done
        return done.stderr.decode()

    def ends(self, name: str) -> tuple[int, str]:
        """Waits for the container's end: its status, and all that it wrote."""
        status = int(self.hyper.out("wait", name))
        done = self.hyper("logs", name)
        return status, (done.stdout + done.stderr).decode()

    def sh(self, name: str, script: str) -> str:
        """What the script says in the running container, errors too."""
        done = self.hyper("exec", name, "sh", "-c", script, check=False)
        return (done.stdout + done.stderr).decode().strip()

    def pod(self, name: str) -> Any:
        return self.hyper.json("pod", "inspect", name)[0]

    def until_pod(self, name: str, key: str, value: Any) -> None:
        self.hyper.until(lambda: self.pod(name)[key] == value, f"{key} of pod {name} is {value}")

    def close(self) -> None:
        for text in reversed(self._played):
            self.hyper("down", "--volumes", "-", stdin=text, check=False)
        for name in self.hyper.out("pod", "ls", "-q").split():
            self.hyper("pod", "rm", "-f", name, check=False)
        for name in self.hyper.out("volume", "ls", "-q").split():
            self.hyper("volume", "rm", name, check=False)


def manifest(*documents: Document) -> bytes:
    """Several documents in one file."""
    return "---\n".join(yaml.safe_dump(copy.deepcopy(one), sort_keys=False) for one in documents).encode()
