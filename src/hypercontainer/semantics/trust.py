"""How a container comes to trust the authority of its pod, whose TLS a proxy looks into: the authority's certificate
joined with those that the image has, where programs look for them; the image itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Container

from hypercontainer.agent.operations import File

# Where systems have what they trust, all in one file: Debian's, Alpine's and Go's first; Fedora's; SUSE's; the BSDs'.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
# The first of these with the authority's behind it, for programs that are told of one file; and that one alone.
JOINED, ALONE = "/etc/ssl/hyper-bundle.pem", "/etc/ssl/hyper-egress.pem"
_TOLD = {
    "SSL_CERT_FILE": JOINED,
    "REQUESTS_CA_BUNDLE": JOINED,
    "CURL_CA_BUNDLE": JOINED,
    "GIT_SSL_CAINFO": JOINED,
    "AWS_CA_BUNDLE": JOINED,
    "PIP_CERT": JOINED,
    "DENO_CERT": ALONE,  # these two have others in themselves
    "NODE_EXTRA_CA_CERTS": ALONE,
}
VARIABLES = tuple(f"{name}={path}" for name, path in _TOLD.items())


def files(certificate: str, theirs: Container[str]) -> tuple[File, ...]:
    """``certificate``: PEM, "" for none; not over what the user mounts at one of ``theirs``."""
    if not certificate:
        return ()
    content = certificate.encode()
    made = [File(JOINED, 0o644, content, bind=True, joined=BUNDLES), File(ALONE, 0o644, content, bind=True)]
    made += [File(path, 0o644, content, bind=True, joined=(path,)) for path in BUNDLES]
    return tuple(each for each in made if each.path not in theirs)
