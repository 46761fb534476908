from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.errors import InvalidArgument, Unauthorized, Unavailable
from hypercontainer.image import credentials, docker_config
from hypercontainer.image.credentials import Credentials

HELPER = """#!/bin/sh
# Keeps what it is given in files beside itself.
case "$1" in
get)
    read -r server
    file="$(dirname "$0")/$(echo "$server" | tr -c 'a-z0-9.\\n' _)"
    [ -f "$file" ] || { echo "credentials not found in native keychain"; exit 1; }
    cat "$file" ;;
store) cat > "$(dirname "$0")/stored" ;;
erase) cat > "$(dirname "$0")/erased" ;;
esac
"""


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {
        "good": HELPER,
        "bad": "#!/bin/sh\necho locked >&2; exit 3\n",
        "odd": "#!/bin/sh\necho '[]'\n",
    }.items():
        (folder / f"docker-credential-{name}").write_text(text)
        (folder / f"docker-credential-{name}").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def write(tmp_path: Path, **document: Any) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(document))
    return path


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_where_the_file_is() -> None:
    assert docker_config.config_path({"DOCKER_CONFIG": "/x"}) == Path("/x/config.json")
    assert docker_config.config_path({"HOME": "/home/a"}) == Path("/home/a/.docker/config.json")


def test_entries_in_all_their_spellings(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        auths={
            "https://index.docker.io/v1/": auth("hub", "p:w"),
            "reg.lan:5000": auth("a", "b"),
            "https://old.lan/v2/": auth("c", "d"),
            "tok.lan": {**auth("t", ""), "identitytoken": "id"},
            "empty.lan": {},
        },
    )
    assert credentials.lookup("docker.io", path) == Credentials("hub", "p:w")
    assert credentials.lookup("reg.lan:5000", path) == Credentials("a", "b")
    assert credentials.lookup("old.lan", path) == Credentials("c", "d")
    assert credentials.lookup("tok.lan", path) == Credentials("t", "", "id")
    for missing in ("reg.lan", "empty.lan", "other.lan"):
        assert credentials.lookup(missing, path) is None
    assert credentials.lookup("docker.io", tmp_path / "none.json") is None


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(Credentials("me", "hunter2", "hunter2", "hunter2"))


def test_store_and_erase_keep_the_rest_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, psFormat="x", auths={"other.lan": auth("o", "o")})
    assert credentials.store("docker.io", Credentials("me", "pw"), path) == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["psFormat"] == "x"
    assert credentials.lookup("docker.io", path) == Credentials("me", "pw")
    credentials.store("docker.io", Credentials("me", "pw", "token"), path)
    assert credentials.lookup("docker.io", path) == Credentials("me", "", "token")
    assert credentials.erase("docker.io", path)
    assert not credentials.erase("docker.io", path)
    assert list(json.loads(path.read_text())["auths"]) == ["other.lan"]
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_a_missing_folder_is_made_and_a_link_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.json"
    credentials.store("a.lan", Credentials("u", "p"), path)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    credentials.store("b.lan", Credentials("u", "p"), link)
    assert link.is_symlink()
    assert credentials.lookup("b.lan", path) == Credentials("u", "p")


def test_helpers(tmp_path: Path, helpers: Path) -> None:
    (helpers / "reg.lan").write_text(json.dumps({"Username": "u", "Secret": "s"}))
    (helpers / "https___index.docker.io_v1_").write_text(json.dumps({"Username": "<token>", "Secret": "id"}))
    path = write(tmp_path, credsStore="good", auths={"reg.lan": auth("not", "this")})
    assert credentials.lookup("reg.lan", path) == Credentials("u", "s")
    assert credentials.lookup("docker.io", path) == Credentials(identity_token="id")
    assert credentials.lookup("unknown.lan", path) is None
    assert credentials.store("docker.io", Credentials("u", "", "tok"), path) == "docker-credential-good"
    assert json.loads((helpers / "stored").read_text()) == {
        "ServerURL": "https://index.docker.io/v1/",
        "Username": "<token>",
        "Secret": "tok",
    }
    assert "tok" not in path.read_text()
    assert credentials.erase("docker.io", path)
    assert (helpers / "erased").read_text() == "https://index.docker.io/v1/"


def test_a_helper_for_one_registry_goes_before_the_store(tmp_path: Path, helpers: Path) -> None:
    (helpers / "reg.lan").write_text(json.dumps({"Username": "u", "Secret": "s"}))
    path = write(tmp_path, credsStore="bad", credHelpers={"reg.lan": "good"})
    assert credentials.lookup("reg.lan", path) == Credentials("u", "s")
    with pytest.raises(Unauthorized, match="docker-credential-bad get: exit status 3: locked"):
        credentials.lookup("other.lan", path)


@pytest.mark.parametrize(
    ("document", "error", "says"),
    [
        ({"credsStore": "../../bin/sh"}, InvalidArgument, "helper's name"),
        ({"credsStore": 5}, InvalidArgument, "helper's name"),
        ({"credsStore": "absent"}, Unavailable, "not installed"),
        ({"credsStore": "odd"}, Unavailable, "Username and Secret"),
        ({"auths": []}, InvalidArgument, "'auths'"),
        ({"auths": {"r.lan": {"auth": "!!"}}}, InvalidArgument, "base64"),
        ({"auths": {"r.lan": {"auth": "YWJj"}}}, InvalidArgument, "colon"),
        ({"auths": {"r.lan": {"identitytoken": 1}}}, InvalidArgument, "not a string"),
    ],
)
def test_broken_configurations(
    tmp_path: Path, helpers: Path, document: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        credentials.lookup("r.lan", write(tmp_path, **document))
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["[", "[]", "[" * 100_000])
def test_what_is_not_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match="JSON"):
        credentials.lookup("r.lan", path)
