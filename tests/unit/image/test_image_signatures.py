"""Whether one signature is as asked: keys, certificates, logs and clocks, good and bad."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from nacl import bindings

import signing
from hypercontainer.config.model import ImageRule
from hypercontainer.errors import InvalidArgument
from hypercontainer.image.signature import keys, transparency
from hypercontainer.image.signature.bundle import read_bundle
from hypercontainer.image.signature.check import check, fits
from hypercontainer.image.signature.loading import load
from hypercontainer.image.signature.policy import Policy, Rule
from hypercontainer.image.signature.refusal import Refused
from signing import Sigstore

ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
EMPTY_KEY = {"rawBytes": ""}
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def sigstore() -> Sigstore:
    return Sigstore()


@pytest.fixture
def rule(tmp_path: Path) -> Callable[..., Rule]:
    """For whoever a sigstore trusts."""

    def made(
        sigstore: Sigstore, identities: tuple[str, ...] = (signing.IDENTITY,), without: Any = ()
    ) -> Rule:
        (tmp_path / "root.json").write_bytes(sigstore.trusted_root(without=without))
        asked = ImageRule("*", "keyless", (), identities, signing.ISSUER, tmp_path / "root.json")
        return load([asked]).rules[0]

    return made


NewRule = Callable[..., Rule]


def verdict(raw: bytes, rule: Rule) -> str:
    """Who signed, or why not."""
    try:
        return check(read_bundle(raw), rule, [DIGEST])[0]
    except Refused as refused:
        return f"no: {refused}"


def altered(raw: bytes, alter: Callable[[Any], object]) -> bytes:
    """``alter`` gets the log's entry."""
    document = json.loads(raw)
    alter(document["verificationMaterial"]["tlogEntries"][0])
    return json.dumps(document).encode()


@pytest.mark.parametrize("version", [1, 2])
def test_an_identity_that_was_vouched_for(
    version: int, sigstore: Sigstore, rule: NewRule, tmp_path: Path
) -> None:
    sigstore.with_clock(tmp_path)
    wanted = rule(sigstore, ("mail@example.test", "https://github.com/example/*/release.yml@*"))
    assert verdict(sigstore.keyless(DIGEST, version=version), wanted) == (
        f"{signing.IDENTITY}, of {signing.ISSUER}"
    )
    assert verdict(sigstore.keyless(DIGEST, "mail@example.test"), wanted).startswith("mail@example.test")


def test_others_identities(sigstore: Sigstore, rule: NewRule) -> None:
    other = sigstore.keyless(DIGEST, "https://github.com/example/fork")
    assert "no: it is by https://github.com/example/fork" in verdict(other, rule(sigstore))
    assert "no: it is by" in verdict(sigstore.keyless(DIGEST, issuer="https://else"), rule(sigstore))
    assert verdict(signing.by_key(signing.new_key(), DIGEST), rule(sigstore)) == (
        "no: it is by a key, and by no identity"
    )


def test_another_sigstore_is_not_believed(sigstore: Sigstore, rule: NewRule) -> None:
    raw = Sigstore().keyless(DIGEST)
    assert "no transparency log that the trusted root has" in verdict(raw, rule(sigstore))
    impostor = Sigstore()
    impostor.log = sigstore.log  # whoever may write to the same log
    assert "no: its certificate is of no trusted authority" in verdict(
        impostor.keyless(DIGEST), rule(sigstore)
    )


def test_what_a_certificate_must_be(sigstore: Sigstore, rule: NewRule) -> None:
    key = signing.new_key()

    def by(certificate: Any, **more: Any) -> str:
        return verdict(sigstore.keyless(DIGEST, key=key, certificate=certificate, **more), rule(sigstore))

    good = sigstore.certificate(key)
    assert "in no certificate log" in by(sigstore.certificate(key, seen=False))
    assert "not for signing code" in by(sigstore.certificate(key, signing=False))
    assert "of no trusted authority" in by(good, at=sigstore.moment + signing.HOUR)
    assert "of no trusted authority" in by(good, at=sigstore.moment - signing.HOUR)
    assert by(good).startswith(signing.IDENTITY)
    raw = sigstore.keyless(DIGEST, key=signing.new_key(), certificate=good)
    assert "not by the certificate that it comes with" in verdict(raw, rule(sigstore))
    unlogged = sigstore.keyless(DIGEST, key=key, certificate=sigstore.certificate(key, seen=False))
    assert verdict(unlogged, rule(sigstore, without=("ctlogs",))).startswith(signing.IDENTITY)


def test_a_time_that_nobody_vouches_for(sigstore: Sigstore, rule: NewRule, tmp_path: Path) -> None:
    sigstore.with_clock(tmp_path)
    raw = sigstore.keyless(DIGEST, version=2)
    wanted = rule(sigstore, without=("timestampAuthorities",))
    assert verdict(raw, wanted) == "no: nobody vouches for when it was made"


def test_an_entry_of_another_signature(sigstore: Sigstore, rule: NewRule) -> None:
    one, other = sigstore.keyless(DIGEST), json.loads(sigstore.keyless(DIGEST))
    entry = other["verificationMaterial"]["tlogEntries"][0]
    swapped = altered(one, lambda mine: mine.update(entry))
    assert verdict(swapped, rule(sigstore)) == "no: its log entry is of another signature"


def flipped(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return signing.b64(bytes(data))


@pytest.mark.parametrize(
    ("alter", "says"),
    [
        (lambda e: e.update(integratedTime="1"), "the promise of its log entry is not the log's"),
        (
            lambda e: e["inclusionPromise"].update(
                signedEntryTimestamp=flipped(e["inclusionPromise"]["signedEntryTimestamp"])
            ),
            "the promise of its log entry is not the log's",
        ),
        (lambda e: e["inclusionProof"].update(logIndex="1"), "does not lead to the log's root"),
        (lambda e: e["inclusionProof"]["hashes"].pop(), "does not lead to the log's root"),
        (lambda e: e["inclusionProof"].update(treeSize="9"), "of another tree than its checkpoint"),
        (lambda e: e["inclusionProof"].update(checkpoint=None), "has no checkpoint"),
        (
            lambda e: e["inclusionProof"]["checkpoint"].update(
                envelope=e["inclusionProof"]["checkpoint"]["envelope"].replace("log.test - 1", "log.test - 2")
            ),
            "the checkpoint of its log entry is not signed by the log",
        ),
        (
            lambda e: (e.pop("inclusionProof"), e.pop("inclusionPromise")),
            "neither a promise nor a proof",
        ),
        (lambda e: e.update(canonicalizedBody=signing.b64(b"{}")), "of a kind that is not known here"),
        (lambda e: e.update(canonicalizedBody=signing.b64(b"[" * 5000)), "of a kind that is not known here"),
        (lambda e: e["logId"].update(keyId=flipped(e["logId"]["keyId"])), "no transparency log that"),
    ],
)
def test_an_entry_that_was_altered(
    alter: Callable[[Any], object], says: str, sigstore: Sigstore, rule: NewRule
) -> None:
    assert says in verdict(altered(sigstore.keyless(DIGEST), alter), rule(sigstore))


def test_a_key_whose_signatures_must_be_in_a_log(sigstore: Sigstore, tmp_path: Path) -> None:
    key = signing.new_key()
    (tmp_path / "k.pub").write_bytes(signing.pem(key))
    (tmp_path / "root.json").write_bytes(sigstore.trusted_root())
    asked = ImageRule("*", "key", (tmp_path / "k.pub",), trusted_root=tmp_path / "root.json")
    (wanted,) = load([asked]).rules
    raw = signing.logged_key(key, DIGEST, sigstore.log, sigstore.moment)
    assert verdict(raw, wanted) == f"key {keys.identifier(key.public_key())}"
    assert verdict(signing.by_key(key, DIGEST), wanted) == "no: it is in no transparency log"


def test_an_ed25519_key_signs_in_either_way() -> None:
    public, secret = bindings.crypto_sign_keypair()
    key = keys.from_der(bytes.fromhex("302a300506032b6570032100") + public)
    state = bindings.crypto_sign_ed25519ph_state()
    bindings.crypto_sign_ed25519ph_update(state, b"message")
    of_hash = bindings.crypto_sign_ed25519ph_final_create(state, secret)
    plain = bindings.crypto_sign(b"message", secret)[:64]
    assert keys.verifies(key, of_hash, b"message") and keys.verifies(key, plain, b"message")
    assert not keys.verifies(key, of_hash, b"another") and not keys.verifies(key, b"", b"message")


def test_keys_that_are_not_taken(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    odd = ec.generate_private_key(ec.SECP256K1())
    for name, content in {
        "weak": signing.pem(weak),
        "odd": signing.pem(odd),
        "none": b"-----BEGIN PUBLIC KEY-----\n",
        "big": b"a" * 70_000,
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidArgument, match=rf"\[\[images.policy\]\] 1: .*/{name}: "):
            load([ImageRule("*", "key", (tmp_path / name,))])
    with pytest.raises(InvalidArgument, match="missing: No such file"):
        load([ImageRule("*", "key", (tmp_path / "missing",))])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{}", "mediaType"),
        ('{"mediaType": "x"}', "its media type is 'x'"),
        (
            json.dumps({"mediaType": ROOT_TYPE, "tlogs": [{"publicKey": EMPTY_KEY, "logId": {"keyId": ""}}]}),
            r"tlogs\[0\]: ",
        ),
    ],
)
def test_roots_that_are_not_taken(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text(content)
    with pytest.raises(InvalidArgument, match=says):
        load([ImageRule("*", "keyless", (), ("x",), "y", tmp_path / "root.json")])


def test_the_first_rule_that_fits_counts() -> None:
    policy = Policy(
        (
            Rule(1, "docker.io/library/debian", "none"),
            Rule(2, "docker.io/library/*", "key"),
            Rule(3, "*", "refuse"),
        )
    )

    def number(name: str) -> int:
        rule = policy.rule_for(name)
        return rule.number if rule else 0

    assert [number(f"docker.io/library/{name}") for name in ("debian", "debian2", "a/b")] == [0, 2, 2]
    assert [number(name) for name in ("docker.io/librarian/x", "quay.io/x", "")] == [3, 3, 3]


def test_docker_hub_has_one_name() -> None:
    (rule,) = load([ImageRule("index.docker.io/library/*", "refuse")]).rules
    assert rule.fits("docker.io/library/debian")


@pytest.mark.parametrize(
    ("name", "wanted", "does"),
    [
        ("abc", "abc", True),
        ("abc", "ab", False),
        ("abc", "a*", True),
        ("abc", "*c", True),
        ("abc", "a*c", True),
        ("abc", "a*b*c", True),
        ("ab", "ab*b", False),
        ("aXbXc", "a*b*d", False),
        ("xabc", "a*", False),
        ("a" * 4000, "a*" * 40 + "b", False),
    ],
)
def test_stars_in_identities(name: str, wanted: str, does: bool) -> None:
    assert fits(name, wanted) is does


def test_the_tree_of_a_log_at_every_size_and_place() -> None:
    for size in range(1, 18):
        log = signing.Log(leaves=[b"%d" % number for number in range(size)])
        for index in range(size):
            proof = log._proof(index)
            path = [base64.b64decode(each) for each in proof["hashes"]]
            leaf = hashlib.sha256(b"\0" + log.leaves[index]).digest()
            root = base64.b64decode(proof["rootHash"])
            assert transparency.root_of(leaf, index, size, path) == root
            assert transparency.root_of(leaf, (index + 1) % (size + 1), size, path) != root
            assert transparency.root_of(leaf, index, size, [*path, b"x" * 32]) is None
