"""YAML and JSON, within bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import documents


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0644", 0o644),
        ("0o644", 0o644),
        ("0x1F", 31),
        ("1_000", 1000),
        ("-12", -12),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("1e999", "1e999"),
        ("yes", True),
        ("off", False),
        ("'yes'", "yes"),
        ("~", None),
        ("!!str 12", "12"),
        ("250m", "250m"),
        ("08", 8.0),
        ("<<", "<<"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = documents.load(f"a: {text}")[0]["a"]
    assert found == value
    assert type(found) is type(value)


def test_documents_that_are_empty_do_not_count() -> None:
    assert documents.load("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]
    assert documents.load("") == []


def test_aliases_and_merges() -> None:
    text = "base: &b {x: 1, u: 2}\nmore: &m {z: 3}\none: {<<: *b, x: 9}\ntwo: {<<: [*b, *m]}\nsame: *b\n"
    found = documents.load(text)[0]
    assert found["one"] == {"x": 9, "u": 2}
    assert found["two"] == {"x": 1, "u": 2, "z": 3}
    assert found["same"] == {"x": 1, "u": 2}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("1", "1"),
        ("0x10", "16"),
        ("010", "8"),
        ("-7", "-7"),
        ("true", "true"),
        ("yes", "true"),
        ("y", "true"),
        ("OFF", "false"),
        ("1.0", "1"),
        ("0.10", "0.1"),
        ("-0.0", "-0"),
        ("123456.0", "123456"),
        ("1e6", "1e+06"),
        ("1234567.5", "1.2345675e+06"),
        ("0.00001", "1e-05"),
        ("16777217.0", "1.6777216e+07"),
        ("1e300", ".inf"),
        ("'yes'", "yes"),
        ("'010'", "010"),
        ("2026-01-02", "2026-01-02"),
        ("web.conf", "web.conf"),
    ],
)
def test_keys_are_the_text_that_kubectl_makes_of_them(key: str, text: str) -> None:
    assert documents.load(f"{key}: a") == [{text: "a"}]


def test_keys_that_come_to_be_the_same_are_one_key_twice() -> None:
    with pytest.raises(InvalidArgument, match="the key 'true' twice"):
        documents.load("{yes: a, on: b}")


@pytest.mark.parametrize("key", ["~", "[a]", "18446744073709551615"])
def test_what_cannot_be_a_key(key: str) -> None:
    with pytest.raises(InvalidArgument, match="a key that is no text"):
        documents.load(f"? {key}\n: a")


def test_json_with_surrogate_pairs() -> None:
    assert documents.load(json.dumps({"a": "\U0001f600"}))[0] == {"a": "\U0001f600"}


def test_json_documents_in_a_row() -> None:
    assert documents.load('{"a": 1}\n---\n{"b": 2}') == [{"a": 1}, {"b": 2}]


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join(lines)


def merge_bomb() -> str:
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (bomb(), "more than 200000 values"),
        (merge_bomb(), "more than 200000 values"),
        ("[" * 100_000, "64 levels"),
        ('{"a":' * 100_000, "64 levels"),
        (json.dumps(json.loads('{"a":' * 70 + "1" + "}" * 70)), "64 levels"),
        ("a: 1\na: 2", "'a' twice"),
        ('{"a": 1, "a": 2}', "'a' twice"),
        ("a: *b", "alias of nothing"),
        ("a: &a [*a]", "alias of nothing"),
        ("a: !!python/object:os.system x", "tag"),
        ("a: !!int x", "no int"),
        ("a: {<<: 1}", "merges"),
        ("[a]: 1", "no text"),
        ("a: [1", "not YAML"),
        ("a: \x07", "not YAML"),
        ("a: \ud800", "surrogate|not YAML"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a": NaN}', "number that is none"),
        ("a\n---\n" * 501, "500 documents"),
        ("#" * (documents.MAX_TEXT_CHARS + 1), "characters"),
    ],
)
def test_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        documents.load(text)
