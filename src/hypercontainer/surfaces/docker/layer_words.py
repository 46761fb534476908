"""What the engine tells of layers, in the words that Docker's clients draw."""

from __future__ import annotations

from collections.abc import Callable

from hypercontainer.contract.images import LayerProgress
from hypercontainer.surfaces.docker.messages import Said

# What a layer goes through on its way here, as the engine has it, and what is said when it has come so far.  A step
# that was too short to be told of is said with the next one.
_STEPS = {
    "waiting": "Pulling fs layer",
    "downloading": "",
    "verifying": "Verifying Checksum",
    "extracting": "Download complete",
    "done": "Pull complete",
}
_ORDER = tuple(_STEPS)
_MOVING = {"downloading": "Downloading", "extracting": "Extracting"}
_PUSHED = {
    "waiting": "Preparing",
    "exists": "Layer already exists",
    "mounted": "Mounted from another repository",
    "done": "Pushed",
}


class Pulled:
    """``known``: the image is here already, and nothing is said of layers that are, too."""

    def __init__(self, said: Said, *, known: bool) -> None:
        self._said, self._known = said, known
        self._reached: dict[str, int] = {}

    def __call__(self, progress: LayerProgress) -> None:
        layer, reached = progress.layer, self._reached.get(progress.layer, -1)
        if progress.status == "exists" and reached < 0:
            self._reached[layer] = len(_ORDER)
            if not self._known:
                self._said.status("Already exists", short(layer), progressDetail={})
        place = _ORDER.index(progress.status) if progress.status in _ORDER else -1
        if place < reached or self._reached.get(layer) == len(_ORDER):
            return
        self._reached[layer] = place
        for step in filter(None, (_STEPS[each] for each in _ORDER[reached + 1 : place + 1])):
            self._said.status(step, short(layer), progressDetail={})
        if moving := _MOVING.get(progress.status):
            self._said.progress(moving, short(layer), progress.current, progress.total)


def pushed(said: Said) -> Callable[[LayerProgress], None]:
    def tell(progress: LayerProgress) -> None:
        if progress.status == "uploading":
            said.progress("Pushing", short(progress.layer), progress.current, progress.total)
        elif word := _PUSHED.get(progress.status):
            said.status(word, short(progress.layer), progressDetail={})

    return tell


def loaded(said: Said) -> Callable[[LayerProgress], None]:
    return lambda progress: said.progress(
        "Loading layer", short(progress.layer), progress.current, progress.total
    )


def short(identifier: str) -> str:
    """12 digits, as people are shown an ID."""
    return identifier.partition(":")[2][:12] or identifier[:12]
