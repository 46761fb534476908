"""Which server's certificate is taken for the right one."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl

from hypercontainer.errors import InvalidArgument, Unavailable
from hypercontainer.hypervisor.esx.settings import Settings

CONNECT_S = 10.0


def context_of(settings: Settings) -> ssl.SSLContext:
    """For all that is said to the configured server.  Blocks; raises ``OSError`` where that cannot be reached,
    ``Unavailable`` where its thumbprint is another, ``InvalidArgument`` for a ``ca`` that is none."""
    if settings.thumbprint:
        return pinned(settings.host, settings.port, settings.thumbprint)
    if settings.insecure:
        return _trusting()
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except OSError as error:
        raise InvalidArgument(f"ca {settings.ca}: {error.strerror or error}") from error


def pinned(host: str, port: int, thumbprint: str) -> ssl.SSLContext:
    """A context that takes the one certificate which the server has now, where its thumbprint (SHA-1 or SHA-256, lower
    case hexadecimal) is this."""
    with (
        socket.create_connection((host, port), CONNECT_S) as plain,
        _trusting().wrap_socket(plain, server_hostname=host) as secure,
    ):
        der = secure.getpeercert(binary_form=True) or b""
    digest = hashlib.sha256(der) if len(thumbprint) == 64 else hashlib.sha1(der, usedforsecurity=False)
    if not hmac.compare_digest(digest.hexdigest(), thumbprint):
        raise Unavailable(
            f"{host}:{port} has another certificate than it should: its SHA-256 is {hashlib.sha256(der).hexdigest()}",
            hint="thumbprint, in the configuration, if that is the right one",
        )
    context = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(der))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
