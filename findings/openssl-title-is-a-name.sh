#!/bin/bash
# OpenSSL 3: name constraints of an authority, and the common name of what it signs.
#
# One would guess that a certificate for an address (its one alternative name is an IP address, which the authority's
# constraints permit) is as good whatever its subject says: since RFC 6125 names are looked for among the alternative names,
# and a client of OpenSSL that checks an address never looks at the common name.
#
# Seen: where there is no alternative name of the kind "DNS", a common name that could be one is held against the authority's
# constraints for DNS names. "192.0.2.1" could be one, all of digits and dots as it is, so the same address as a title, which is
# what many tools write there, makes the chain invalid ("permitted subtree violation"); a title with a blank in it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check cryptography==50.0.2 2>"$folder/log" || { cat "$folder/log" >&2; exit 1; }
seen=$("$folder/venv/bin/python" - "$folder" <<'PY'
import contextlib
import datetime
import ipaddress
import ssl
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ADDRESS = ipaddress.ip_address("192.0.2.1")
now = datetime.datetime.now(datetime.timezone.utc)
folder = Path(sys.argv[1])


def certificate(title, key, issuer, signer, extension, critical, more=None):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, title)])
    made = x509.CertificateBuilder(issuer or name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    made = made.add_extension(extension, critical=critical)
    return (made.add_extension(more, critical=True) if more else made).sign(signer, hashes.SHA256())


def pem(key):
    private = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())


def trusted(title):
    own, its = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    permitted = [x509.DNSName("example.test"), x509.IPAddress(ipaddress.ip_network(f"{ADDRESS}/32"))]
    constraints = x509.NameConstraints(permitted, None)
    root = certificate("an authority", own, None, own, x509.BasicConstraints(True, 0), True, constraints)
    leaf = certificate(title, its, root.subject, own, x509.SubjectAlternativeName([x509.IPAddress(ADDRESS)]), False)
    file = folder / "leaf.pem"
    file.write_bytes(pem(its) + leaf.public_bytes(serialization.Encoding.PEM))
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.load_verify_locations(cadata=root.public_bytes(serialization.Encoding.PEM).decode())
    server.load_cert_chain(file)
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(one, other, server_hostname=str(ADDRESS)), server.wrap_bio(other, one, server_side=True)]
    try:
        for end in ends * 2:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    return "trusted"


for title in ("192.0.2.1", "of 192.0.2.1"):
    print(f"{title}: {trusted(title)}")
PY
)
echo "$seen"
[ "$seen" = "192.0.2.1: permitted subtree violation
of 192.0.2.1: trusted" ] || { echo "this has changed" >&2; exit 1; }
