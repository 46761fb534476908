"""hyper play, down and generate kube: Kubernetes' manifests."""

from __future__ import annotations

import sys

from hypercontainer.cli.commands.podfile import read_text
from hypercontainer.cli.options import Call, Command, UsageError, flag, many, text
from hypercontainer.cli.progress import Display, follow
from hypercontainer.cli.session import tell, visible

MAX_FILE_BYTES = 16 * 1024 * 1024  # more characters than hyperd takes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hypercontainer.client.api import Client


def _manifest(call: Call) -> str:
    """All the files as one, since one may name what another defines."""
    files = [*call.options.many("filename"), *call.arguments]
    if call.arguments[:1] == ["kube"] and len(files) > 1:  # podman's: play kube FILE
        files.remove("kube")
    if not files:
        raise UsageError(
            f"hyper {call.name} requires a manifest", hint="a FILE, or - for standard input", exit_status=1
        )
    if files.count("-") > 1:
        raise UsageError("standard input can be read once", exit_status=1)
    texts = []
    for path in files:
        try:
            texts.append(read_text(path, "manifest", MAX_FILE_BYTES).decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise UsageError(f"manifest {path}: not UTF-8 at byte {error.start}", exit_status=1) from None
    if len(texts) > 1:  # JSON may have tabs between its words, YAML not
        texts = [one.replace("\t", " ") if one.lstrip()[:1] == "{" else one for one in texts]
    return "\n---\n".join(texts)


def _show(call: Call, found: list[dict[str, Any]]) -> None:
    for one in found:
        for warning in one.get("warnings", ()):
            tell(f"WARNING: {warning}")
    if call.options.text("format") == "json":
        import json

        sys.stdout.write(json.dumps(found, indent=4, ensure_ascii=False) + "\n")
    elif call.options.flag("quiet"):
        sys.stdout.writelines(f"{visible(pod)}\n" for one in found for pod in one["pods"])
    else:
        dry = " (dry run)" if call.options.flag("dry-run") else ""
        for one in found:
            gone = ", ".join(map(visible, one.get("removed", ())))
            action = visible(one["action"]) + dry + (f": {gone} removed" if gone else "")
            sys.stdout.write(f"{visible(one['kind'].lower())}/{visible(one['name'])} {action}\n")


def _do(call: Call, verb: str, body: dict[str, Any]) -> int:
    if call.options.text("format") not in ("", "json"):
        raise UsageError(f"invalid --format {call.options.text('format')!r}", hint="json", exit_status=1)
    lines = call.session.client.lines(f"manifests.{verb}", body=body)
    _show(call, follow(lines, Display(quiet=call.options.flag("quiet"))))
    return 0


def play(call: Call) -> int:
    values = call.options
    if values.flag("down"):
        return down(call)
    manifest, dry_run = _manifest(call), values.flag("dry-run")
    if not dry_run:
        _fetch_private(call.session.client, manifest, quiet=values.flag("quiet"))
    body: dict[str, Any] = {
        "text": manifest,
        "replace": values.flag("replace"),
        "start": values.flag("start") and not values.flag("no-start"),
    }
    return _do(call, "play", body | _only_said(call, "dry-run", "skip-unsupported"))


def down(call: Call) -> int:
    body = {"text": _manifest(call), "volumes": call.options.flag("volumes")}
    return _do(call, "down", body | _only_said(call, "dry-run"))


def _only_said(call: Call, *flags: str) -> dict[str, bool]:
    return {name.replace("-", "_"): True for name in flags if call.options.flag(name)}


def _fetch_private(client: Client, manifest: str, *, quiet: bool) -> None:
    """Images for which the user has credentials, and which are missing: hyperd never sees a credential that it could
    carry to the registry of another of the manifest's images."""
    from hypercontainer.cli.pulling import credentials_for, is_there, pull
    from hypercontainer.errors import InvalidArgument

    for image in _images(manifest):
        try:
            if credentials_for(image) is None or is_there(client, image, None):
                continue
        except InvalidArgument:
            continue  # hyperd says what is wrong with it, and where
        pull(client, image, platform=None, quiet=quiet)


def _images(manifest: str) -> list[str]:
    """Every ``image`` of a container or a volume, roughly: what is no manifest is hyperd's to judge."""
    import yaml

    found: dict[str, None] = {}
    seen: set[int] = set()
    try:
        waiting: list[Any] = list(
            yaml.load_all(manifest, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        )
    except (yaml.YAMLError, ValueError, RecursionError):
        return []
    while waiting:
        value = waiting.pop(0)
        if not isinstance(value, dict | list) or id(value) in seen:  # what an alias repeats is looked at once
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            image, policy = value.get("image"), value.get("imagePullPolicy")
            if isinstance(volume := image, dict):
                image, policy = volume.get("reference"), volume.get("pullPolicy")
            if isinstance(image, str) and isinstance(value.get("name"), str) and policy != "Never":
                found[image] = None
        waiting += value.values() if isinstance(value, dict) else value
    return list(found)


def generate(call: Call) -> int:
    manifest = call.session.client.call("manifests.generate", body={"refs": call.arguments})["text"]
    if not (path := call.options.text("filename")):
        sys.stdout.write(manifest)
        return 0
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(manifest)
    except FileExistsError:
        raise UsageError(
            f"{path} exists already", hint="name another file, or remove it", exit_status=1
        ) from None
    return 0


_COMMON = (
    many("-f --filename", "FILE", "a manifest, in place of the argument; may be repeated"),
    flag("--dry-run", "say what would be done, and do nothing"),
    text("--format", "FORMAT", "'json'"),
    flag("-q --quiet", "no progress; print only the pods"),
)
_VOLUMES = flag("--volumes", "the volumes of its claims too, with what is in them")
PLAY = Command(
    play,
    "[OPTIONS] FILE...",
    count=(0, None),
    options=(
        flag("--replace", "what is there of these names is removed and made anew; volumes stay"),
        flag("--skip-unsupported", "pass over objects of other kinds, such as Ingress, with a warning"),
        flag("--start", "start the pods", default=True),
        flag("--no-start", "the same as --start=false"),
        flag("--down", "the same as hyper down"),
        _VOLUMES,
        *_COMMON,
    ),
    text="""Several files count as one; '-' is standard input; a first argument 'kube' is passed over. --volumes is for
--down.""",
    examples=(
        "hyper play shop.yaml",
        "hyper play --replace config.yaml shop.yaml",
        "hyper play --dry-run -f config.yaml -f shop.yaml",
        "kustomize build | hyper play --skip-unsupported -",
    ),
)
DOWN = Command(
    down,
    "[OPTIONS] FILE...",
    count=(0, None),
    options=(_VOLUMES, *_COMMON),
    text="""Kinds that are not known are passed over: nothing was made of them.""",
    examples=("hyper down shop.yaml", "hyper down --volumes shop.yaml"),
)
GENERATE = Command(
    generate,
    "[OPTIONS] POD|CONTAINER|VOLUME...",
    count=(1, None),
    options=(text("-f --filename", "FILE", "write to this new file"),),
    examples=("hyper generate kube shop > shop.yaml", "hyper generate kube -f shop.yaml shop"),
)
