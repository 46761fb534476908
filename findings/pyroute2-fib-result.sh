#!/bin/bash
# pyroute2 0.9.7: the nftables expression `fib`, by which `fib daddr type local` is said over netlink.
#
# One would guess that the message class encodes and decodes it in its own words, as it does the others: the result wanted is
# the address's type, NFT_FIB_RESULT_ADDRTYPE, which is number 3 of an enumeration (linux/netfilter/nf_tables.h: unspec, oif,
# oifname, addrtype), and the flags are bits (saddr 1, daddr 2).
#
# Seen: it is the other way round. The result is taken for bits, so the type is encoded as 1 << 3, which the kernel refuses as
# no result it knows; what the kernel itself lists as 3 is decoded as {unspec, oif}, and that set is what must be said to get 3.
# The flags are taken for a number, so that daddr (2) is decoded as "mark". A rule that is read, and written as it was read,
# is the same rule only because both mistakes are made twice.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyroute2==0.9.7 2>"$folder/log" || { cat "$folder/log" >&2; exit 1; }
seen=$("$folder/venv/bin/python" - <<'PY'
from pyroute2.netlink.nfnetlink.nftsocket import nft_rule_msg


def rule(result):
    message = nft_rule_msg()
    asked = [["NFTA_FIB_DREG", 1], ["NFTA_FIB_FLAGS", 2], ["NFTA_FIB_RESULT", result]]
    expression = {"attrs": [["NFTA_EXPR_NAME", "fib"], ["NFTA_EXPR_DATA", {"attrs": asked}]]}
    message["attrs"] = [["NFTA_RULE_EXPRESSIONS", [expression]]]
    message.encode()
    return bytes(message.data)


def read(data):
    message = nft_rule_msg(data)
    message.decode()
    (expression,) = message.get_attr("NFTA_RULE_EXPRESSIONS")
    return expression.get_attr("NFTA_EXPR_DATA")


print("addrtype, 3, is encoded as", int.from_bytes(rule({"NFT_FIB_RESULT_ADDRTYPE"})[-4:], "big"))
three = rule({"NFT_FIB_RESULT_UNSPEC", "NFT_FIB_RESULT_OIF"})
print("unspec and oif are encoded as", int.from_bytes(three[-4:], "big"))
print("3 is decoded as", ", ".join(sorted(read(three).get_attr("NFTA_FIB_RESULT"))))
print("daddr, 2, is decoded as", read(three).get_attr("NFTA_FIB_FLAGS"))
PY
)
echo "$seen"
[ "$seen" = "addrtype, 3, is encoded as 8
unspec and oif are encoded as 3
3 is decoded as NFT_FIB_RESULT_OIF, NFT_FIB_RESULT_UNSPEC
daddr, 2, is decoded as NFTA_FIB_F_MARK" ] || { echo "this has changed" >&2; exit 1; }
