#!/bin/bash
# cosign 3.1.1 (Debian sid): what it writes about a signature where a registry keeps no referrers, and how it signs by Ed25519.
#
# One would guess that the index at the tag sha256-HEX says of each signature the artifactType of its manifest, as the OCI
# distribution specification has it, so that a client need not fetch what is none; and that one Ed25519 key signs in one way.
#
# Seen: the index says application/vnd.oci.empty.v1+json, the type of the manifest's empty config, while the manifest itself
# says application/vnd.dev.sigstore.bundle.v0.3+json.  And `cosign sign-blob` signs the bytes by Ed25519, `cosign sign` an
# image's statement by Ed25519ph, which python's cryptography cannot check.  Needs docker-registry and openssl (3).
set -euo pipefail
folder=$(mktemp -d)
registry=
trap '[ -z "$registry" ] || kill "$registry"; rm -rf "$folder"' EXIT
cd "$(dirname "$0")/.."
read -r package _ version _ < <(python3 tools/suites.py cosign --suite sid)
dpkg -x "$package" "$folder/unpacked"
cd "$folder"
export HOME=$folder COSIGN_PASSWORD=
cosign() { "$folder/unpacked/usr/bin/cosign" "$@" >>log 2>&1 || { cat log; exit 1; }; }
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$folder" "$port" >registry.yml
docker-registry serve registry.yml >registry.log 2>&1 &
registry=$!
until curl -s "127.0.0.1:$port/v2/" >/dev/null; do sleep 0.1; done
base=http://127.0.0.1:$port/v2/app
put() { # FILE: prints digest and size
    local digest place
    digest=sha256:$(sha256sum "$1" | cut -d' ' -f1)
    place=$(curl -si -X POST "$base/blobs/uploads/" | tr -d '\r' | sed -n 's/^Location: //ip')
    curl -sf -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$1" "$place&digest=$digest"
    echo "\"digest\":\"$digest\",\"size\":$(stat -c %s "$1")"
}
echo '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}' >config
kind=application/vnd.oci.image
echo "{\"schemaVersion\":2,\"mediaType\":\"$kind.manifest.v1+json\",\"config\":{\"mediaType\":\"$kind.config.v1+json\",$(put config)},\"layers\":[]}" >manifest
curl -sf -X PUT -H "Content-Type: $kind.manifest.v1+json" --data-binary @manifest "$base/manifests/1"
digest=sha256:$(sha256sum manifest | cut -d' ' -f1)
echo '{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{"selector":"ANY"},"tsaConfig":{"selector":"ANY"}}' >alone.json
openssl genpkey -algorithm ed25519 -out key.pem
openssl pkey -in key.pem -pubout -out key.pub
cosign import-key-pair --key key.pem --output-key-prefix own
cosign sign --yes --key own.key --signing-config alone.json --allow-http-registry "127.0.0.1:$port/app@$digest"
cosign sign-blob --yes --key own.key --signing-config alone.json --bundle blob.json config
accept="Accept: $kind.manifest.v1+json, $kind.index.v1+json"
curl -sf -H "$accept" "$base/manifests/${digest/:/-}" >index.json
read_json() { python3 -c "import json, sys; d = json.load(open(sys.argv[1])); print($2)" "$1"; }
curl -sf -H "$accept" "$base/manifests/$(read_json index.json 'd["manifests"][0]["digest"]')" >signature.json
curl -sf "$base/blobs/$(read_json signature.json 'd["layers"][0]["digest"]')" >image.json
python3 - <<'PY'
import base64, json
def b(text): return base64.b64decode(text)
blob, envelope = json.load(open("blob.json")), json.load(open("image.json"))["dsseEnvelope"]
open("blob.sig", "wb").write(b(blob["messageSignature"]["signature"]))
open("image.sig", "wb").write(b(envelope["signatures"][0]["sig"]))
kind, payload = envelope["payloadType"].encode(), b(envelope["payload"])
open("pae", "wb").write(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
PY
pure() { openssl pkeyutl -verify -pubin -inkey key.pub -rawin -in "$1" -sigfile "$2" >/dev/null 2>&1 && echo yes || echo no; }
seen="index says $(read_json index.json 'd["manifests"][0]["artifactType"]'), manifest says $(read_json signature.json 'd["artifactType"]')"
seen="$seen; Ed25519: of bytes $(pure config blob.sig), of an image $(pure pae image.sig)"
echo "version $version: $seen"
[ "$seen" = "index says application/vnd.oci.empty.v1+json, manifest says application/vnd.dev.sigstore.bundle.v0.3+json; Ed25519: of bytes yes, of an image no" ] ||
    { echo "this has changed" >&2; exit 1; }
