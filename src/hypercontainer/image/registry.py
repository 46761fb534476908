"""The distribution protocol for one repository on one server: manifests and blobs, down and up.

Source: OCI distribution specification 1.1.  Manifests are checked against the digest that was asked for, or
that the server claims; blobs are checked by whoever writes them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO
from urllib.parse import urlencode, urljoin, urlsplit

import msgspec
from urllib3 import BaseHTTPResponse

from hypercontainer.contract.images import SearchResult
from hypercontainer.errors import ImageError, NotFound, RegistryError, Remedy, Unauthorized
from hypercontainer.image.auth import Authenticator
from hypercontainer.image.blobs import check_bytes, digest_of
from hypercontainer.image.cancel import Guard
from hypercontainer.image.credentials import Credentials
from hypercontainer.image.documents import ACCEPTED, MAX_MANIFEST_BYTES, OCI_INDEX, Descriptor, decode
from hypercontainer.image.endpoints import Endpoint
from hypercontainer.image.reference import is_digest
from hypercontainer.image.transport import (
    Body,
    Request,
    TLSRefused,
    TransientError,
    Transport,
    Unreachable,
    discard,
    read_body,
    retrying,
)

MANIFEST_DEADLINE_S = 60.0
MAX_ERROR_BYTES = 64 << 10
UPLOAD_CHUNK_BYTES = 32 << 20
MAX_REFERRER_PAGES = 8
MAX_TAG_PAGES = 1000
MAX_TAGS = 100_000
WITHOUT_REFERRERS = (400, 404, 405, 501)  # what registries of before 1.1 say
_NEXT = re.compile(r'<([^<>]{1,2000})>\s*;\s*rel="?next"?')


class _ErrorEntry(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct, frozen=True):
    errors: list[_ErrorEntry] = []


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


class _Found(msgspec.Struct, frozen=True):
    name: str = ""
    description: str | None = None
    star_count: int = 0
    is_official: bool = False


class _Search(msgspec.Struct, frozen=True):
    results: list[_Found] | None = None


@dataclass(frozen=True)
class ServedManifest:
    raw: bytes
    content_type: str
    digest: str


class Repository:
    """One repository as one user sees it.  Thread safe."""

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        name: str,
        credentials: Credentials | None,
        guard: Guard,
        *,
        push: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self.name = f"{endpoint.prefix}{name}"
        self._transport, self._guard = transport, guard
        self._auth = Authenticator(transport, endpoint.host, credentials)
        self._scopes = (f"repository:{self.name}:{'pull,push' if push else 'pull'}",)

    def __str__(self) -> str:
        return f"{self.endpoint.host}/{self.name}".rstrip("/")  # of none, the registry

    def manifest(self, reference: str) -> ServedManifest:
        """The manifest or index of a tag or digest; NotFound when the server has none."""
        what = f"manifest {reference} of {self}"

        def get() -> ServedManifest:
            response = self._call("GET", f"manifests/{reference}", {"Accept": ", ".join(ACCEPTED)})
            self._expect(response, (200,), what)
            raw = read_body(response, MAX_MANIFEST_BYTES, what, self._guard, MANIFEST_DEADLINE_S)
            claimed = response.headers.get("Docker-Content-Digest", "")
            expected = reference if is_digest(reference) else claimed
            if is_digest(expected):
                check_bytes(raw, expected, what)
            else:
                expected = digest_of(raw)
            return ServedManifest(raw, response.headers.get("Content-Type", ""), expected)

        return retrying(get, self._transport.config, self._guard)

    def referrers(self, digest: str) -> list[bytes] | None:
        """The pages of the index of what refers to the manifest ``digest``; None where the registry keeps none."""

        def get(path: str) -> tuple[bytes, str]:
            response = self._call("GET", path, {"Accept": OCI_INDEX})
            if response.status in WITHOUT_REFERRERS:
                discard(response, self._guard)
                return b"", ""
            self._expect(response, (200,), what)
            raw = read_body(response, MAX_MANIFEST_BYTES, what, self._guard, MANIFEST_DEADLINE_S)
            following = _NEXT.search(response.headers.get("Link", ""))
            return raw, following[1] if following else ""

        what, path = f"referrers of {digest} in {self}", f"referrers/{digest}"
        pages: list[bytes] = []
        while path and len(pages) < MAX_REFERRER_PAGES:
            raw, path = retrying(functools.partial(get, path), self._transport.config, self._guard)
            pages.append(raw)
        return pages if pages[0] else None

    def tags(self) -> list[str]:
        """All of the repository's."""
        what, path = f"tags of {self}", "tags/list"
        found: list[str] = []
        for _ in range(MAX_TAG_PAGES):
            raw, path = self._page(path, what)
            found += decode(raw, _Tags, what).tags or ()
            if not path or len(found) > MAX_TAGS:
                break
        return found[:MAX_TAGS]

    def search(self, term: str, limit: int) -> list[SearchResult]:
        """What repositories of the whole registry are found by ``term``."""
        what = f"search of {self.endpoint.host}"
        path = urljoin(f"{self._base()}/", f"v1/search?{urlencode({'q': term, 'n': limit})}")
        raw, _ = self._page(path, what, scopes=())
        found = decode(raw, _Search, what).results or ()
        return [SearchResult(x.name, x.description or "", x.star_count, x.is_official) for x in found][:limit]

    def _page(self, path: str, what: str, scopes: tuple[str, ...] | None = None) -> tuple[bytes, str]:
        """A document of a listing, and the path of the next, or ""."""

        def get() -> tuple[bytes, str]:
            response = self._call("GET", path, {}, scopes=scopes)
            self._expect(response, (200,), what)
            following = _NEXT.search(response.headers.get("Link", ""))
            raw = read_body(response, MAX_MANIFEST_BYTES, what, self._guard, MANIFEST_DEADLINE_S)
            return raw, following[1] if following else ""

        return retrying(get, self._transport.config, self._guard)

    def small_blob(self, descriptor: Descriptor, what: str) -> bytes:
        """A blob's bytes, checked."""

        def get() -> bytes:
            response = self._call("GET", f"blobs/{descriptor.digest}", {})
            self._expect(response, (200,), what)
            raw = read_body(response, descriptor.size, what, self._guard, MANIFEST_DEADLINE_S)
            check_bytes(raw, descriptor.digest, what)
            return raw

        return retrying(get, self._transport.config, self._guard)

    def blob(self, digest: str, offset: int, end: int | None = None) -> BaseHTTPResponse:
        """A blob's bytes from ``offset``, before ``end``: status 206, or 200 from the start, or 416 when there are
        none."""
        part = offset or end is not None
        headers = {"Range": f"bytes={offset}-{'' if end is None else end - 1}"} if part else {}
        response = self._call("GET", f"blobs/{digest}", headers)
        self._expect(response, (200, 206, 416) if part else (200,), f"blob {digest} of {self}")
        return response

    def has_blob(self, digest: str) -> bool:
        response = retrying(
            lambda: self._call("HEAD", f"blobs/{digest}", {}), self._transport.config, self._guard
        )
        response.close()
        if response.status in (200, 404):
            return response.status == 200
        raise self._failure(response.status, f"blob {digest} of {self}", b"")

    def start_upload(self, digest: str, mount_from: str | None) -> str | None:
        """Where to upload a blob to; None when the registry took it over from the repository ``mount_from``."""
        query = {"mount": digest, "from": mount_from} if mount_from else {}
        scopes = self._scopes + ((f"repository:{mount_from}:pull",) if mount_from else ())
        path = "blobs/uploads/" + (f"?{urlencode(query)}" if query else "")
        response = self._call("POST", path, {"Content-Length": "0"}, body=lambda: b"", scopes=scopes)
        self._expect(response, (201, 202), f"upload to {self}")
        discard(response, self._guard)
        return None if response.status == 201 else self._upload_location(response)

    def upload(self, location: str, digest: str, body: Body, size: int) -> bool:
        """The whole blob in one request; False when the registry finds it too large for one (413)."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        response = self._call("PUT", _with_digest(location, digest), headers, body=body)
        if response.status == 413:
            response.close()
            return False
        self._expect(response, (201, 204), f"upload of {digest} to {self}")
        discard(response, self._guard)
        return True

    def upload_chunks(self, location: str, digest: str, body: IO[bytes], size: int) -> None:
        """The blob in chunks, for registries behind servers that limit a request's size."""
        offset = 0
        what = f"upload of {digest} to {self}"
        while offset < size:
            chunk = body.read(UPLOAD_CHUNK_BYTES)
            if not chunk:
                raise ImageError(f"{what}: the blob ends at {offset} of {size} bytes")
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(len(chunk)),
                "Content-Range": f"{offset}-{offset + len(chunk) - 1}",
            }
            response = self._call("PATCH", location, headers, body=lambda data=chunk: data)  # type: ignore[misc]
            self._expect(response, (202, 204), what)
            discard(response, self._guard)
            location = self._upload_location(response)
            offset += len(chunk)
        response = self._call(
            "PUT", _with_digest(location, digest), {"Content-Length": "0"}, body=lambda: b""
        )
        self._expect(response, (201, 204), what)
        discard(response, self._guard)

    def put_manifest(self, reference: str, raw: bytes, media_type: str) -> None:
        headers = {"Content-Type": media_type}
        what = f"push of {self}:{reference}"

        def put() -> None:
            response = self._call("PUT", f"manifests/{reference}", headers, body=lambda: raw)
            self._expect(response, (200, 201, 202), what)
            discard(response, self._guard)

        retrying(put, self._transport.config, self._guard)

    def ping(self) -> str:
        """Ask for nothing, as who we are; returns the identity token that the token server gave, or ''."""
        response = retrying(
            lambda: self._call("GET", "/v2/", {}, scopes=()), self._transport.config, self._guard
        )
        self._expect(response, (200,), f"registry {self.endpoint.host}")
        response.close()
        return self._auth.identity_token

    def _call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: Body | None = None,
        scopes: tuple[str, ...] | None = None,
    ) -> BaseHTTPResponse:
        """One request, answered challenges included.  ``path`` may be a URL that the registry gave."""
        scopes = self._scopes if scopes is None else scopes
        for _ in range(3):  # a token may have expired, and then another scheme may be asked for
            self._guard.check()
            base = self._base()
            url = path if "://" in path else urljoin(f"{base}/v2/{self.name}/", path)
            ours = urlsplit(url)[:2] == urlsplit(base)[:2]
            sent = self._auth.header(scopes, self._guard) if ours else None
            response = self._transport.send(
                Request(method, url, headers, self.endpoint.host, sent, body), self._guard
            )
            if response.status != 401 or not ours:
                return response
            discard(response, self._guard)
            self._auth.challenged(response.headers.getlist("WWW-Authenticate"), scopes, sent, str(self))
        raise self._auth.refused(str(self))

    def _base(self) -> str:
        """Scheme and host; finds out which scheme the server speaks where there is a choice."""
        host, schemes = self.endpoint.host, self.endpoint.schemes
        if len(schemes) == 1:
            return f"{schemes[0]}://{host}"
        if host not in self._transport.schemes:
            try:
                self._transport.send(Request("GET", f"https://{host}/v2/", {}, host), self._guard).close()
                self._transport.schemes[host] = "https"
            except (TLSRefused, Unreachable) as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise
                self._transport.schemes[host] = "http"
            except TransientError as error:
                self._transport.schemes[host] = "https" if error.http_status else "http"
        return f"{self._transport.schemes[host]}://{host}"

    def _upload_location(self, response: BaseHTTPResponse) -> str:
        location = response.headers.get("Location")
        if not location:
            raise RegistryError(f"upload to {self}: the registry names no place to upload to")
        url = urljoin(
            response.url if response.url and "://" in response.url else f"{self._base()}/", location
        )
        base = self._base()
        if urlsplit(url).scheme not in ("http", "https") or (
            base.startswith("https:") and url[:5] == "http:"
        ):
            raise RegistryError(f"upload to {self}: the registry sends it to {url[:200]!r}")
        return url

    def _expect(self, response: BaseHTTPResponse, statuses: tuple[int, ...], what: str) -> None:
        if response.status in statuses:
            return
        raw = read_body(response, MAX_ERROR_BYTES, what, self._guard, MANIFEST_DEADLINE_S)
        raise self._failure(response.status, what, raw)

    def _failure(self, status: int, what: str, raw: bytes) -> Exception:
        said = _error_text(raw)
        if status == 404:
            return NotFound(f"{what}: not found{said}")
        if status in (401, 403):
            log_in = Remedy("images.authenticate", self.endpoint.host)
            return Unauthorized(f"{what}: access denied{said}", remedies=[log_in])
        return RegistryError(f"{what}: the registry answered {status}{said}", http_status=status)


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if urlsplit(location).query else '?'}{urlencode({'digest': digest})}"


def _error_text(raw: bytes) -> str:
    try:
        entries = msgspec.json.decode(raw, type=_Errors).errors
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    text = "; ".join(entry.message or entry.code for entry in entries[:5])
    return f": {''.join(c if c.isprintable() else '?' for c in text[:500])}" if text else ""
