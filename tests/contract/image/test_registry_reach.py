"""How far a registry may lead: its redirects and token servers, whose network these are in, and for how long."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from hypercontainer.errors import Cancelled, RegistryError
from hypercontainer.image import transport
from hypercontainer.image.cancel import Cancellation
from hypercontainer.image.credentials import Credentials
from hypercontainer.image.dialing import place_of
from hypercontainer.image.endpoints import may_lead
from hypercontainer.image.store import ImageStore

NewStore = Callable[..., ImageStore]


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.0.1", "loopback"),
        ("0.0.0.0", "loopback"),
        ("::1", "loopback"),
        ("::", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("::ffff:10.0.0.1", "private"),
        ("1.1.1.1", "public"),
        ("2606:4700::1111", "public"),
    ],
)
def test_places(address: str, place: str) -> None:
    assert place_of(address) == place


def test_who_may_lead_where() -> None:
    places = ("loopback", "link-local", "private", "public")
    allowed = {(own, place) for own in places for place in places if may_lead(own, place)}
    own = {(place, place) for place in places}
    assert allowed == own | {(place, "public") for place in places} | {("loopback", "private")}


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.2 passes for a public address."""
    monkeypatch.setattr(transport, "place_of", lambda a: "public" if a == "127.0.0.2" else place_of(a))


@pytest.mark.usefixtures("pretend")
@pytest.mark.parametrize("where", ["127.0.0.1", "localhost", "2130706433", "0.0.0.0"])
def test_a_public_registry_does_not_lead_to_this_machine(
    new_fake: Any, new_store: NewStore, where: str
) -> None:
    outside, inside = new_fake(address="127.0.0.2"), new_fake()
    outside.add_image("1", b"x")
    target = f"http://{where}:{inside.server_port}/admin?delete=1"
    outside.fail("manifests/1", outside.status(307, Location=target))
    with pytest.raises(RegistryError, match=r"leads to .*a loopback address"):
        new_store().pull(f"{outside.host}/x:1")
    assert inside.log == []
    assert new_store("again").pull(f"{outside.host}/x:1").layers, "the redirect was for once"


@pytest.mark.usefixtures("pretend")
def test_nor_do_its_token_servers_and_uploads(new_fake: Any, new_store: NewStore) -> None:
    outside, inside = new_fake(address="127.0.0.2"), new_fake()
    challenge = f'Bearer realm="http://127.0.0.1:{inside.server_port}/token",service="s"'
    outside.authorize = lambda h: h.answer(401, WWW_Authenticate=challenge)
    with pytest.raises(RegistryError, match=r"leads to .*loopback address") as caught:
        new_store().pull(f"{outside.host}/x:1", credentials=Credentials("me", "pw"))
    assert "list 127.0.0.1" in (caught.value.hint or "")
    assert inside.log == []


@pytest.mark.usefixtures("pretend")
def test_what_the_configuration_names_may_be_led_to(new_fake: Any, new_store: NewStore) -> None:
    outside, inside = new_fake(address="127.0.0.2"), new_fake()
    outside.add_image("1", b"x")
    inside.manifests, inside.blobs = outside.manifests, outside.blobs
    here = f"127.0.0.1:{inside.server_port}"
    outside.fail("manifests/1", outside.status(307, Location=f"http://{here}/v2/x/manifests/1"))
    store = new_store(insecure=frozenset({here}))
    assert store.pull(f"{outside.host}/x:1").layers
    assert inside.asked("manifests/1")


def test_a_registry_of_this_machine_leads_around_on_it(fake: Any, new_fake: Any, new_store: NewStore) -> None:
    other = new_fake()
    fake.add_image("1", b"x")
    other.manifests = fake.manifests
    fake.fail("manifests/1", fake.status(307, Location=f"http://{other.host}/v2/x/manifests/1"))
    assert new_store().pull(f"{fake.host}/x:1").layers
    assert other.asked("manifests/1")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_secret_of_a_body_goes_to_another_origin(
    fake: Any, new_fake: Any, new_store: NewStore, status: int
) -> None:
    other = new_fake()
    bodies: list[bytes] = []
    fake.add_image("1", b"x")

    def token(handler: Any) -> bool:
        bodies.append(handler.body)
        handler.answer(200, json.dumps({"token": "t"}).encode())
        return False

    other.authorize = token

    def authorize(handler: Any) -> bool:
        if handler.path.startswith("/token"):
            handler.answer(status, Location=f"http://{other.host}/token")
        elif handler.headers.get("Authorization") == "Bearer t":
            return True
        else:
            handler.answer(401, WWW_Authenticate=f'Bearer realm="http://{fake.host}/token"')
        return False

    fake.authorize = authorize
    mine = Credentials(identity_token="IDTOKEN-SECRET")
    if status == 303:  # its meaning: ask there for the answer, without the body
        new_store().pull(f"{fake.host}/x:1", credentials=mine)
    else:
        with pytest.raises(RegistryError, match="redirects a request with credentials"):
            new_store().pull(f"{fake.host}/x:1", credentials=mine)
    assert b"IDTOKEN-SECRET" not in b"".join(bodies)


def test_a_secret_is_redirected_within_its_origin(fake: Any, new_store: NewStore) -> None:
    fake.add_image("1", b"x")
    bodies: list[bytes] = []

    def authorize(handler: Any) -> bool:
        if handler.path == "/token":
            handler.answer(307, Location="/other")
        elif handler.path == "/other":
            bodies.append(handler.body)
            handler.answer(200, json.dumps({"token": "t"}).encode())
        elif handler.headers.get("Authorization") == "Bearer t":
            return True
        else:
            handler.answer(401, WWW_Authenticate=f'Bearer realm="http://{fake.host}/token"')
        return False

    fake.authorize = authorize
    new_store().pull(f"{fake.host}/x:1", credentials=Credentials(identity_token="secret"))
    assert b"refresh_token=secret" in bodies[0]


class Drip:
    """An answer that never gets to the end of its header; or a connection that never gets to its TLS."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()

    def __call__(self, handler: Any) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Header: ")
        while not self.over.wait(0.02):
            handler.wfile.write(b"x")
            self.begun.set()


@pytest.fixture
def drip() -> Any:
    made = Drip()
    yield made
    made.over.set()


@pytest.mark.parametrize("kept", [False, True])
def test_a_header_that_does_not_end_is_given_up(
    fake: Any, new_store: NewStore, drip: Drip, kept: bool
) -> None:
    fake.add_image("1", b"x")
    fake.fail("manifests/2" if kept else "/v2/x", drip)
    store = new_store(header_timeout_s=0.3, attempts=1)
    if kept:  # on a connection that is there from before
        store.pull(f"{fake.host}/x:1")
    with pytest.raises(RegistryError, match=r"no answer within 0\.3 s"):
        store.pull(f"{fake.host}/x:2")


def test_cancelling_closes_a_connection_whose_header_does_not_end(
    fake: Any, new_store: NewStore, drip: Drip
) -> None:
    fake.fail("manifests/1", drip)
    cancelled = Cancellation()

    def cancel() -> None:
        drip.begun.wait(10)
        cancelled.set()

    threading.Thread(target=cancel).start()
    with pytest.raises(Cancelled):
        new_store().pull(f"{fake.host}/x:1", cancelled=cancelled)
    assert "registry-call" not in {thread.name for thread in threading.enumerate()}
