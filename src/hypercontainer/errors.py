"""The one error tree.

    HyperError
    ├── InvalidArgument       the caller's input is wrong: names the field and what it takes
    ├── NotFound              the named object does not exist
    │   └── NoSuchImage       ... which is an image; carries what was asked for
    ├── Conflict              the object exists, or is in a state that forbids the operation
    │   ├── ImageInUse        containers use the image; carries its ID and their names
    │   ├── NameTaken         ... or is being made, and has the name
    │   └── ReadOnly          ... because nothing may be written there
    ├── NotSupported          understood, and not to be had here: says where it is
    ├── Unavailable           something this needs is missing, full or down; says how to mend it
    │   └── DiskFull          ... a disk of this machine's
    ├── Cancelled             whoever asked for it took it back
    ├── ImageError            an image cannot be used
    │   ├── RegistryError     a registry refused or failed; carries status and URL
    │   ├── Unauthorized      ... because of credentials
    │   ├── DigestMismatch    bytes are not what their digest says
    │   ├── Untrusted         no signature is as the policy for its name asks
    │   └── LayerError        a layer's content is refused; carries layer and entry
    ├── HypervisorError       a hypervisor failed
    │   └── LaunchError       a VM did not start; carries command, exit status, stderr and console
    └── AgentError            the guest failed
        ├── AgentProtocolError  it broke the wire contract; its pod is lost
        ├── AgentTimeout        it did not answer in time
        ├── GuestGone           its VM has ended
        ├── GuestError          it answered that an operation failed; carries errno and operation
        └── StreamClosed        the process takes no more input

Errors carry data and a message for people that names the operation and the object; ``hint`` is the remedy,
where there is one.  Libraries raise them and never print or exit.

They speak no surface's language: what is wrong with an argument names the field of the contract, and an operation that
helps is a `Remedy`.  Each surface words both as its users know them: a flag and a command, a method, a manifest's path.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the command line imports this; `collections` would cost more than everything here
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Remedy:
    """An operation that helps: ``call`` is its name in ``contract/routes.py``, ``of`` what it is to be done to (""
    where that is open), ``options`` what it is given besides.  ``aim``: what for, in a few words, or ""."""

    __slots__ = ("aim", "call", "of", "options")

    def __init__(
        self, call: str, of: str = "", *, aim: str = "", options: Mapping[str, object] | None = None
    ) -> None:
        self.call = call
        self.of = of
        self.aim = aim
        self.options = dict(options or {})

    def __str__(self) -> str:
        words = [
            self.call,
            *filter(None, [self.of]),
            *(f"{name}={value}" for name, value in self.options.items()),
        ]
        return " ".join(words) + (f" {self.aim}" if self.aim else "")


class HyperError(Exception):
    """Base of everything this project raises on purpose.

    ``code`` is the stable name on the API's wire, ``status`` the HTTP status it travels with.  ``remedies``: any one
    of them helps; beside a hint they are ways to do what it says.
    """

    code = "internal"
    status = 500

    def __init__(self, message: str, *, hint: str | None = None, remedies: Sequence[Remedy] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.remedies = tuple(remedies)

    def __str__(self) -> str:
        """Without the remedies, which are for a surface to word."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidArgument(HyperError):
    """``field``: the field of ``contract/spec.py`` or of a call that is wrong, "" where it is none; ``takes``: what
    would be right."""

    code = "invalid_argument"
    status = 400

    def __init__(
        self,
        why: str,
        *,
        field: str = "",
        takes: str | None = None,
        hint: str | None = None,
        remedies: Sequence[Remedy] = (),
    ) -> None:
        super().__init__(f"{field}: {why}" if field else why, hint=takes or hint, remedies=remedies)
        self.field = field
        self.why = why


class NotFound(HyperError):
    code = "not_found"
    status = 404


class NoSuchImage(NotFound):
    """``name``: what was asked for."""

    def __init__(self, name: str, *, remedies: Sequence[Remedy] = ()) -> None:
        super().__init__(f"no such image: {name}", remedies=remedies)
        self.name = name


class Conflict(HyperError):
    code = "conflict"
    status = 409


class ImageInUse(Conflict):
    """``name``: of the image as it was given; ``users``: names."""

    def __init__(self, name: str, image_id: str, users: Sequence[str], *, remedies: Sequence[Remedy]) -> None:
        super().__init__(f"image {name} is used by container {', '.join(users[:5])}", remedies=remedies)
        self.name = name
        self.image_id = image_id
        self.users = tuple(users)


class NameTaken(Conflict):
    pass


class ReadOnly(Conflict):
    pass


class NotSupported(HyperError):
    code = "not_supported"
    status = 501


class Unavailable(HyperError):
    code = "unavailable"
    status = 503


class DiskFull(Unavailable):
    pass


class Cancelled(HyperError):
    code = "cancelled"
    status = 499


class ImageError(HyperError):
    code = "image"
    status = 422


class RegistryError(ImageError):
    """``http_status`` is the registry's answer, 0 where there was none."""

    code = "registry"
    status = 502

    def __init__(self, message: str, *, http_status: int = 0, url: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.http_status = http_status
        self.url = url


class Unauthorized(ImageError):
    code = "unauthorized"
    status = 401


class DigestMismatch(ImageError):
    code = "digest_mismatch"

    def __init__(self, what: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{what}: expected {expected}, got {actual}")
        self.expected = expected
        self.actual = actual


class Untrusted(ImageError):
    code = "untrusted"
    status = 403


class LayerError(ImageError):
    """``layer`` is a digest or diff ID, ``entry`` the tar entry's name, escaped for display, or ''."""

    code = "layer"

    def __init__(self, message: str, *, layer: str = "", entry: str = "") -> None:
        where = f"layer {layer}" + (f", entry {entry!r}" if entry else "") if layer else repr(entry)
        super().__init__(f"{where}: {message}" if layer or entry else message)
        self.layer = layer
        self.entry = entry


class HypervisorError(HyperError):
    code = "hypervisor"


class LaunchError(HypervisorError):
    """``exit_code`` is None where the process still ran when it was given up.  The message has the reason; what is
    beside it, and in ``str``, is for who looks closer."""

    code = "launch"

    def __init__(
        self,
        message: str,
        *,
        command: Sequence[str] = (),
        exit_code: int | None = None,
        stderr: str = "",
        console: str = "",
        hint: str | None = None,
        remedies: Sequence[Remedy] = (),
    ) -> None:
        super().__init__(message, hint=hint, remedies=remedies)
        self.command = tuple(command)
        self.exit_code = exit_code
        self.stderr = stderr
        self.console = console

    def __str__(self) -> str:
        parts = [super().__str__()]
        if self.command:
            parts.append(f"command: {' '.join(self.command)}")
        if self.exit_code is not None:
            parts.append(f"exit status: {self.exit_code}")
        if self.stderr:
            parts.append(f"stderr:\n{self.stderr.rstrip()}")
        if self.console:
            parts.append(f"last lines of the guest's console:\n{self.console.rstrip()}")
        return "\n".join(parts)


class AgentError(HyperError):
    code = "agent"


class AgentProtocolError(AgentError):
    code = "agent_protocol"


class AgentTimeout(AgentError):
    code = "agent_timeout"
    status = 504


class GuestGone(AgentError):
    status = 409


class GuestError(AgentError):
    """``errno`` is the guest's (Linux numbers), 0 where the agent gave none."""

    code = "guest"

    def __init__(self, message: str, *, errno: int = 0, operation: str = "") -> None:
        super().__init__(message)
        self.errno = errno
        self.operation = operation


class StreamClosed(AgentError):
    code = "stream_closed"
    status = 409
