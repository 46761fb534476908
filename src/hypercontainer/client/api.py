"""Calls of the native API, by their names in ``contract/routes.py``: JSON in and out, errors as exceptions, hyperd
started when nobody serves."""

from __future__ import annotations

from _thread import allocate_lock

from hypercontainer.client.http import BrokenAnswer, Response, connect, quote, request_head, target
from hypercontainer.client.wirejson import dumps, loads
from hypercontainer.contract.routes import JSON, NAMES, PROTOCOL, in_words, route
from hypercontainer.errors import HyperError, Remedy, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

OWN = ("kernels.fetch",)  # what the command line does without hyperd
MAX_ANSWER_BYTES = 64 * 1024 * 1024
ANSWER_TIMEOUT_S = 60.0
LIFECYCLE_TIMEOUT_S = 900.0  # hyperd bounds each step of these itself; this is for a hyperd that hangs
SEND_TIMEOUT_S = 60.0


class RemoteError(HyperError):
    """An error that hyperd answered with: ``code`` and ``details`` as docs/api.md has them."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "internal",
        hint: str | None = None,
        details: Mapping[str, Any] | None = None,
        remedies: Sequence[Remedy] = (),
    ) -> None:
        super().__init__(message, hint=hint, remedies=remedies)
        self.code = code
        self.details: dict[str, Any] = dict(details or {})


class NotRunning(Unavailable):
    """Nobody listens at the socket."""

    def __init__(self, path: str) -> None:
        super().__init__(f"hyperd is not running: nobody listens at {path}", hint="hyper system start")


def remote_error(answer: Any) -> RemoteError:
    """The exception for the ``error`` object of an answer, a progress line or a control frame."""
    if not isinstance(answer, dict) or not isinstance(answer.get("message"), str):
        return RemoteError(f"hyperd answered with an error it does not explain: {str(answer)[:200]}")
    details = answer.get("details")
    details = details if isinstance(details, dict) else {}
    remedies = _remedies(details)
    hint = answer.get("hint") or None
    if hint == in_words(remedies, quote):
        hint = None  # it says only how the API makes these calls
    return RemoteError(
        answer["message"],
        code=str(answer.get("code") or "internal"),
        hint=hint,
        details=details,
        remedies=remedies,
    )


def _remedies(details: dict[str, Any]) -> list[Remedy]:
    """Those that are known here."""
    found = []
    given = details.get("remedies")
    for each in given if isinstance(given, list) else ():
        if isinstance(each, dict) and isinstance(each.get("call"), str) and each["call"] in (*NAMES, *OWN):
            of, aim, options = str(each.get("of", "")), str(each.get("aim", "")), each.get("options")
            found.append(
                Remedy(each["call"], of, aim=aim, options=options if isinstance(options, dict) else None)
            )
    return found


def decode(data: bytes | bytearray | memoryview) -> Any:
    try:
        return loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise BrokenAnswer(f"hyperd's answer is not JSON: {error}") from None


def encode(value: object) -> bytes:
    return dumps(value).encode("ascii")


class Client:
    """``start`` is called once, with no arguments, when nobody listens at ``path``; None: that is an error."""

    def __init__(self, path: str, *, start: Callable[[], None] | None = None) -> None:
        self.path = path
        self._start: Callable[[], None] | bool | None = start
        self._starting = allocate_lock()

    def _connect(self, *, again: bool = False) -> Socket:
        try:
            return connect(self.path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if again or not self._started():
                raise NotRunning(self.path) from error
        except PermissionError as error:
            raise Unavailable(
                f"connect to hyperd at {self.path}: permission denied",
                hint="use the user that runs hyperd, or sudo",
            ) from error
        except OSError as error:
            raise Unavailable(f"connect to hyperd at {self.path}: {error.strerror or error}") from error
        return self._connect(again=True)

    def _started(self) -> bool:
        """Starts hyperd, once, whichever thread is the first to miss it; False: nobody may."""
        with self._starting:
            if callable(self._start):
                start, self._start = self._start, True
                start()
            return self._start is True

    def open(
        self,
        name: str,
        of: str = "",
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = ANSWER_TIMEOUT_S,
        upload: Callable[[Socket], None] | None = None,
    ) -> Response:
        """Makes the call ``name`` on ``of`` and reads the answer's head; an error status is raised.

        ``upload`` is given the socket after the head, to send a chunked body from a thread of its own: hyperd may
        answer, with progress or an error, before it has read everything.
        """
        called = route(name)
        payload = encode(body) if body is not None else b""
        fields = {"Connection": "close", **(headers or {})}
        if upload is not None:
            fields |= {"Transfer-Encoding": "chunked", "Content-Type": called.takes}
        elif body is not None or called.method == "POST":
            fields |= {"Content-Length": str(len(payload)), "Content-Type": JSON}
        request_target = target(called.path_of(quote(of)), query)
        sock = self._connect()
        try:
            sock.settimeout(SEND_TIMEOUT_S)
            _send(sock, request_head(called.method, request_target, fields) + payload)
            sock.settimeout(timeout_s)
            if upload is not None:
                _in_thread(upload, sock)
            response = Response(sock)
            if response.status >= 400:
                raise _error_of(response)
        except BaseException:
            sock.close()
            raise
        return response

    def call(
        self,
        name: str,
        of: str = "",
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        timeout_s: float | None = ANSWER_TIMEOUT_S,
    ) -> Any:
        """The answer's JSON, None where it has no body."""
        response = self.open(name, of, query=query, body=body, timeout_s=timeout_s)
        try:
            data = response.read(MAX_ANSWER_BYTES)
        finally:
            response.close()
        return decode(data) if data else None

    def act(
        self, name: str, of: str = "", *, query: Mapping[str, object] | None = None, body: object = None
    ) -> Any:
        """A call that takes its time."""
        return self.call(name, of, query=query, body=body, timeout_s=LIFECYCLE_TIMEOUT_S)

    def lines(
        self,
        name: str,
        of: str = "",
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        upload: Callable[[Socket], None] | None = None,
    ) -> Iterator[Any]:
        """The answer's JSON lines as they come, without a deadline between them."""
        response = self.open(name, of, query=query, body=body, timeout_s=None, upload=upload)
        try:
            for line in response.lines():
                yield decode(line)
        finally:
            response.close()

    def upgrade(
        self,
        name: str,
        of: str = "",
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
    ) -> tuple[Socket, bytes]:
        """A connection that carries frames from here on, and the frames' first bytes."""
        wanted = {"Connection": "Upgrade", "Upgrade": PROTOCOL}
        response = self.open(name, of, query=query, body=body, headers=wanted, timeout_s=LIFECYCLE_TIMEOUT_S)
        if response.status != 101:
            response.close()
            raise BrokenAnswer(f"hyperd answered {name} with {response.status} in place of a stream")
        return response.take_socket()


def _send(sock: Socket, data: bytes) -> None:
    try:
        sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass  # an answer may be there to say why
    except TimeoutError:
        raise Unavailable("hyperd does not read its requests", hint="hyper doctor") from None


def _error_of(response: Response) -> RemoteError:
    data = response.read(MAX_ANSWER_BYTES)
    try:
        answer = decode(data)
    except BrokenAnswer:
        answer = None
    if isinstance(answer, dict) and "error" in answer:
        return remote_error(answer["error"])
    return RemoteError(f"hyperd answered with HTTP status {response.status}")


def _in_thread(upload: Callable[[Socket], None], sock: Socket) -> None:
    import threading

    threading.Thread(target=upload, args=(sock,), name="upload", daemon=True).start()
