#!/bin/bash
# pyroute2 0.9.7: the nftables expression `log group N`, by which packets are told of to who listens (nfnetlink_log).
#
# One would guess that the group goes out as the kernel reads it, in 16 bits (linux/netfilter/nf_tables.h: NFTA_LOG_GROUP,
# NLA_U16).
#
# Seen: it is encoded in 32 bits, big endian, of which the kernel reads the first 16: every group below 65536 is group 0, and
# `nft list ruleset` says so. Nothing is refused.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyroute2==0.9.7 2>"$folder/log" || { cat "$folder/log" >&2; exit 1; }
seen=$("$folder/venv/bin/python" - <<'PY'
from pyroute2.netlink.nfnetlink.nftsocket import nft_rule_msg

message = nft_rule_msg()
expression = {"attrs": [["NFTA_EXPR_NAME", "log"], ["NFTA_EXPR_DATA", {"attrs": [["NFTA_LOG_GROUP", 7]]}]]}
message["attrs"] = [["NFTA_RULE_EXPRESSIONS", [expression]]]
message.encode()
data = bytes(message.data)
print("group 7 is encoded as", data[-4:].hex(), "of which the kernel reads", data[-4:-2].hex())
PY
)
echo "$seen"
[ "$seen" = "group 7 is encoded as 00000007 of which the kernel reads 0000" ] || { echo "this has changed" >&2; exit 1; }
