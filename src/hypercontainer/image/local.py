"""Finding and removing images by the names people use for them, with Docker's meaning."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from hypercontainer.contract.images import PullTarget
from hypercontainer.errors import Conflict, ImageInUse, InvalidArgument, NoSuchImage, Remedy
from hypercontainer.image.metadata import Metadata, Record
from hypercontainer.image.model import Image, Removed
from hypercontainer.image.reference import Reference, is_bare, is_digest, parse

InUse = Callable[[str], Sequence[str]]  # image ID -> names of the containers that use it

BEING_CREATED = "one that is being created"  # in a container's place

_ID_PREFIX = re.compile(r"(?:sha256:|sha512:)?([0-9a-f]{1,128})")


class Uses:
    """Of images by what is just being made of them.  Nobody removes one but under ``removing``."""

    def __init__(self) -> None:
        self.removing = threading.Lock()
        self._held: Counter[str] = Counter()

    @contextmanager
    def held(self, image_id: str, check: Callable[[str], object]) -> Iterator[None]:
        """``check`` raises where the image is gone."""
        with self.removing:
            check(image_id)
            self._held[image_id] += 1
        try:
            yield
        finally:
            with self.removing:
                self._held[image_id] -= 1

    def with_made(self, in_use: InUse) -> InUse:
        """What is being made is asked first: once it is made, ``in_use`` knows it."""

        def users(image_id: str) -> Sequence[str]:
            made = [BEING_CREATED] if self._held[image_id] else []
            return [*in_use(image_id), *made]

        return users


def unused(metadata: Metadata, uses: Uses, in_use: InUse) -> Iterator[Image]:
    """Nobody begins to use one before the next is asked for."""
    users = uses.with_made(in_use)
    for image_id in metadata.ids():
        with uses.removing:
            image = metadata.image(image_id)
            if image is not None and not users(image_id):
                yield image


def nobody(_image_id: str) -> Sequence[str]:
    return ()


def find(metadata: Metadata, text: str) -> tuple[str, Reference | None]:
    """The image ID that ``text`` means, and the reference, where it is one and not an ID.

    In order: a full ID, a reference (tag, digest), the beginning of an ID.  NoSuchImage, or Conflict where the
    beginning is that of several.
    """
    if is_digest(text):
        if metadata.record(text) is None:
            raise _missing(text)
        return text, None
    try:
        reference: Reference | None = parse(text)
    except InvalidArgument:
        if not _ID_PREFIX.fullmatch(text):
            raise
        reference = None
    if reference is not None and (found := by_reference(metadata, reference)):
        return found, reference
    if prefix := _ID_PREFIX.fullmatch(text):
        found_ids = metadata.ids_with_prefix(prefix[1])
        if len(found_ids) > 1:
            raise Conflict(f"image ID {text} is the beginning of several", hint="give more of its digits")
        if found_ids:
            return found_ids[0], None
    raise _missing(text)


def find_all(metadata: Metadata, text: str) -> list[tuple[str, str]]:
    """Image IDs that ``text`` means, each with the canonical tag that leads there, or "": a repository without a tag
    or digest means all of its tags."""
    if is_bare(text):
        with suppress(InvalidArgument):  # it may be an ID
            if tags := metadata.tags_of(parse(text).name):
                return [(image_id, tag) for tag, image_id in tags]
    image_id, reference = find(metadata, text)
    tagged = reference is not None and reference.tag and not reference.digest
    return [(image_id, reference.canonical if reference is not None and tagged else "")]


def find_each(metadata: Metadata, texts: Sequence[str]) -> dict[str, list[str]]:
    """IDs of the images that are meant, each with the canonical tags by which it is, in order."""
    chosen: dict[str, dict[str, None]] = {}
    for text in texts:
        for image_id, tag in find_all(metadata, text):
            chosen.setdefault(image_id, {}).update({tag: None} if tag else {})
    if not chosen:
        raise InvalidArgument("save: no image is named")
    return {image_id: list(tags) for image_id, tags in chosen.items()}


def by_reference(metadata: Metadata, reference: Reference) -> str | None:
    if reference.digest:
        return metadata.by_digest(reference.name, reference.digest)
    return metadata.by_tag(reference.canonical)


def pull_target(metadata: Metadata, wanted: Reference, digest: str, image_id: str) -> PullTarget:
    """Of a pull of ``wanted``, which has led to the image at ``digest``."""
    known = by_reference(metadata, wanted) == image_id
    return PullTarget(digest, known, metadata.record(image_id) is not None)


def _missing(text: str) -> NoSuchImage:
    remedies = [] if _ID_PREFIX.fullmatch(text) else [Remedy("images.pull", text, aim="to get it")]
    return NoSuchImage(text, remedies=remedies)


def remove(
    metadata: Metadata, text: str, image: Image, reference: Reference | None, force: bool, in_use: InUse
) -> list[Removed]:
    """What `rmi` does to ``image``, which ``text`` led to.

    By reference: that reference goes, and the image with the last one.  By ID: all go, unless they are of
    several repositories and nobody insists.  An image that containers use is never deleted; with ``force`` it
    only loses its names, where it has any.
    """
    users = list(in_use(image.id))
    by_id = reference is None
    tags, digests = _names_to_drop(image, reference)
    by_force = Remedy("images.remove", text, options={"force": True}, aim="to drop all its names")
    last = set(tags) >= set(image.references) and set(digests) >= set(image.repo_digests)
    if by_id and not force and len({_repository(tag) for tag in image.references}) > 1:
        raise Conflict(
            f"image {image.short_id} has names in several repositories",
            remedies=[Remedy("images.remove", aim="of one name after the other"), by_force],
        )
    if users and last and not (force and (tags or digests)):
        by_removal = Remedy("containers.remove", users[0], aim="first")
        helps = [] if users[0] == BEING_CREATED else [by_removal]
        raise ImageInUse(text, image.id, users, remedies=[*helps, *([] if force else [by_force])])
    delete = last and not users
    metadata.forget(tags, [_split_digest(d) for d in digests], image.id if delete else "")
    removed = [Removed(untagged=name) for name in (*tags, *digests)]
    return [*removed, Removed(deleted=image.id)] if delete else removed


def _names_to_drop(image: Image, reference: Reference | None) -> tuple[list[str], list[str]]:
    """Tags and repository digests that go: all, or one and what it leaves without a tag in its repository."""
    if reference is None:
        return list(image.references), list(image.repo_digests)
    if reference.digest:
        dropped = [d for d in image.repo_digests if d == f"{reference.name}@{reference.digest}"]
        return [], dropped or [d for d in image.repo_digests if _repository(d) == reference.name]
    tags = [reference.canonical]
    others = [tag for tag in image.references if tag not in tags and _repository(tag) == reference.name]
    digests = [] if others else [d for d in image.repo_digests if _repository(d) == reference.name]
    return tags, digests


def _repository(name: str) -> str:
    return parse(name).name


def _split_digest(repo_digest: str) -> tuple[str, str]:
    name, _, digest = repo_digest.partition("@")
    return name, digest


def smaller(new: Record, old: Record) -> bool:
    """Whether ``new`` has compressed what is plain in ``old``."""
    plain = [sum(layer.compression == "none" for layer in record.layers) for record in (new, old)]
    return plain[0] < plain[1]
