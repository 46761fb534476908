"""What a policy asks of images, with registries of every kind and signatures good and bad."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import signing
from fake_registry import Fake
from hypercontainer.config.model import ImageRule
from hypercontainer.errors import Untrusted
from hypercontainer.image.importing import Making
from hypercontainer.image.signature import loading
from hypercontainer.image.store import ImageStore
from signing import Sigstore

NewStore = Callable[..., ImageStore]
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"


class Stage:
    """A registry with one image, a key, and stores whose policy asks for it."""

    def __init__(self, fake: Fake, new_store: NewStore, folder: Path) -> None:
        self.fake, self._new_store, self._folder = fake, new_store, folder
        self.key = signing.new_key()
        (folder / "key.pub").write_bytes(signing.pem(self.key))
        self.digest = fake.add_image("1", b"layer")
        self.reference = f"{fake.host}/app:1"

    def rule(self, **more: object) -> ImageRule:
        wanted = {"match": f"{self.fake.host}/*", "require": "key", "keys": (self._folder / "key.pub",)}
        return ImageRule(**{**wanted, **more})  # type: ignore[arg-type]

    def store(self, *rules: ImageRule, name: str = "store", **options: object) -> ImageStore:
        return self._new_store(name, policy=loading.load(rules or [self.rule()]), **options)

    def signed(self, of: str = "") -> str:
        return self.fake.attach(self.digest, signing.by_key(self.key, of or self.digest), signing.BUNDLE)

    def refused(self, store: ImageStore) -> str:
        """Why; nothing of the image has come."""
        with pytest.raises(Untrusted) as raised:
            store.pull(self.reference)
        assert store.list() == [] and not any(self.fake.asked(layer) for layer in self.fake.layers("1"))
        return raised.value.message


@pytest.fixture
def stage(fake: Fake, new_store: NewStore, tmp_path: Path) -> Stage:
    return Stage(fake, new_store, tmp_path)


@pytest.mark.parametrize("keeps", [True, False], ids=["referrers", "tag"])
@pytest.mark.parametrize("says", [True, False], ids=["of a kind", "of an empty kind"])
def test_an_image_with_the_keys_signature_is_taken(stage: Stage, keeps: bool, says: bool) -> None:
    stage.fake.keeps_referrers = keeps
    stage.fake.attach(stage.digest, b"{}", "application/spdx+json")
    blob = signing.by_key(stage.key, stage.digest)
    stage.fake.attach(stage.digest, blob, signing.BUNDLE, says=says)
    store = stage.store()
    image = store.pull(stage.reference)
    assert store.to_use(stage.reference).id == store.to_use(image.id).id == image.id


def test_a_signature_of_cosign_before_3_is_taken(stage: Stage) -> None:
    payload = signing.simple(stage.digest)
    stage.fake.blobs[stage.fake.descriptor(payload, "")["digest"]] = payload
    signature = signing.b64(signing.sign(stage.key, payload))
    layer = {
        **stage.fake.descriptor(payload, SIMPLE),
        "annotations": {"dev.cosignproject.cosign/signature": signature},
    }
    tag = stage.digest.replace(":", "-") + ".sig"
    stage.fake.add_manifest(tag, {"config": stage.fake.descriptor(b"{}", SIMPLE), "layers": [layer]})
    assert stage.store().pull(stage.reference)


def test_an_index_is_signed_for_all_of_its_images(stage: Stage) -> None:
    raw, kind = stage.fake.manifests["1"]
    platform = {"architecture": "amd64", "os": "linux"}
    index = {"manifests": [{**stage.fake.descriptor(raw, kind), "platform": platform}]}
    digest = stage.fake.add_manifest("2", index, "application/vnd.oci.image.index.v1+json")
    stage.fake.attach(digest, signing.by_key(stage.key, digest), signing.BUNDLE)
    assert stage.store().pull(f"{stage.fake.host}/app:2")


def test_without_a_signature_nothing_is_fetched_and_the_error_says_which_rule(stage: Stage) -> None:
    said = stage.refused(stage.store(stage.rule(match="docker.io/*"), stage.rule()))
    assert f'image {stage.reference}: [[images.policy]] 2 (match = "{stage.fake.host}/*")' in said
    assert "asks for a signature by key" in said and f"of {stage.digest} was found: none" in said


def test_others_signatures_do_not_count_and_are_told(stage: Stage) -> None:
    other = stage.fake.add_image("other", b"another")
    stage.fake.attach(stage.digest, signing.by_key(signing.new_key(), stage.digest), signing.BUNDLE)
    stage.signed(of=other)
    attestation = signing.by_key(stage.key, stage.digest, "https://slsa.dev/provenance/v1")
    stage.fake.attach(stage.digest, attestation, signing.BUNDLE)
    stage.fake.attach(stage.digest, b"{}", "application/vnd.cncf.notary.signature")
    said = stage.refused(stage.store())
    for each in (
        "it is by none of these keys",
        "it is of another image",
        "the bundle is an attestation ('https://slsa.dev/provenance/v1'), not a signature",
        "a signature of notation, which are not checked yet",
    ):
        assert each in said


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"null",
        b'{"mediaType": 3}',
        b"{}",
        b"\xff" * 100,
        b'{"a":"' + b"a" * (2 << 20) + b'"}',
    ],
    ids=range(8),
)
def test_what_is_no_bundle_is_passed_over(stage: Stage, blob: bytes) -> None:
    stage.fake.attach(stage.digest, blob, signing.BUNDLE)
    assert "was found: " in stage.refused(stage.store())
    stage.signed()
    assert stage.store(name="again").pull(stage.reference)


@pytest.mark.parametrize(
    "index", [b"{}", b"[]", b'{"manifests": [{"digest": "http://elsewhere/"}]}', b"<html>"]
)
def test_what_is_no_list_of_referrers_is_none(stage: Stage, index: bytes) -> None:
    stage.fake.fail("/referrers/", lambda handler: handler.answer(200, index))
    assert "was found: none" in stage.refused(stage.store())
    assert not stage.fake.asked("elsewhere")


def test_of_very_many_referrers_some_are_looked_at(stage: Stage) -> None:
    for number in range(60):
        stage.fake.attach(stage.digest, b"%d" % number, signing.BUNDLE)
    before = len(stage.fake.log)
    stage.refused(stage.store())
    assert len(stage.fake.log) - before < 80


def test_a_lost_blob_of_one_signature_does_not_hide_another(stage: Stage) -> None:
    digest = stage.fake.attach(stage.digest, b"lost", signing.BUNDLE)
    del stage.fake.blobs[json.loads(stage.fake.manifests[digest][0])["layers"][0]["digest"]]
    stage.signed()
    assert stage.store().pull(stage.reference)


def test_a_mirror_need_not_have_the_signatures(stage: Stage, new_fake: Callable[..., Fake]) -> None:
    mirror = new_fake()
    mirror.add_image("1", b"layer")
    stage.signed()
    assert stage.store(mirrors={stage.fake.host: (f"http://{mirror.host}",)}).pull(stage.reference)
    assert mirror.asked("/referrers/") and mirror.asked("/blobs/")


def test_what_came_before_the_policy_is_not_used_until_it_was_looked_for(stage: Stage) -> None:
    image = stage.store(stage.rule(require="none", keys=())).pull(stage.reference)
    stage.signed()
    asking = stage.store()
    for named in (stage.reference, image.id, image.short_id):
        with pytest.raises(Untrusted, match=r"none was found when it came"):
            asking.to_use(named)
    assert asking.get(stage.reference).id == image.id  # it can be looked at, and removed
    asking.pull(stage.reference)
    assert asking.to_use(image.id).id == image.id
    # The same key under another rule is the same; another key is not.
    assert stage.store(stage.rule(match="*")).to_use(stage.reference)
    other = stage._folder / "other.pub"
    other.write_bytes(signing.pem(signing.new_key()))
    with pytest.raises(Untrusted):
        stage.store(stage.rule(keys=(other,))).to_use(stage.reference)


def test_a_name_that_is_refused_is_refused_however_it_came(stage: Stage) -> None:
    free = stage.store(stage.rule(match="docker.io/*"))
    image = free.pull(stage.reference)
    refusing = stage.store(stage.rule(require="refuse", keys=()))
    for attempt in (refusing.pull, refusing.to_use):
        with pytest.raises(Untrusted, match=r"refused by \[\[images.policy\]\] 1"):
            attempt(stage.reference)
    free.tag(stage.reference, "mine:1")
    assert refusing.to_use("mine:1")  # a name of one's own
    with pytest.raises(Untrusted):  # by ID it has all of its names
        refusing.to_use(image.id)


def test_an_image_without_a_name_is_under_the_rule_for_everything(stage: Stage) -> None:
    image = stage.store(stage.rule()).import_(io.BytesIO(bytes(10240)), reference=None, making=Making())
    assert stage.store(stage.rule()).to_use(image.id)
    with pytest.raises(Untrusted, match="without a name"):
        stage.store(stage.rule(match="*")).to_use(image.id)


def test_a_signer_without_a_key_is_taken_by_identity(stage: Stage, tmp_path: Path) -> None:
    sigstore = Sigstore()
    (tmp_path / "root.json").write_bytes(sigstore.trusted_root())
    rule = stage.rule(
        require="keyless",
        keys=(),
        identities=(signing.IDENTITY,),
        issuer=signing.ISSUER,
        trusted_root=tmp_path / "root.json",
    )
    stage.fake.attach(stage.digest, sigstore.keyless(stage.digest, "a@b.c", "https://other"), signing.BUNDLE)
    said = stage.refused(stage.store(rule))
    assert "it is by a@b.c, of https://other" in said and signing.IDENTITY in said
    stage.fake.attach(stage.digest, sigstore.keyless(stage.digest), signing.BUNDLE)
    assert stage.store(rule, name="again").pull(stage.reference)
