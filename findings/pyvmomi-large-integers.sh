#!/bin/bash
# pyvmomi 9.1.1.0: an integer of an unknown type travels as xsd:int, whatever its size.
#
# A property of vSphere's API may be of any type (OptionValue.value, of a machine's or a host's advanced settings). One would
# guess that a number which does not fit into 32 bits goes as xsd:long, or is refused.
#
# Seen: `<value xsi:type="xsd:int">1099511627776</value>`, which a server's parser refuses, or cuts to 0. Where the
# API knows the type (capacityInBytes), it goes as what it is, and without a type. Who means a number there wraps it:
# `VmomiSupport.long(n)`, or sends a text.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check pyvmomi==9.1.1.0
cat > "$work/large.py" <<'PY'
import re

from pyVmomi import vim
from pyVmomi.SoapAdapter import Serialize

sent = Serialize(vim.option.OptionValue(key="k", value=1 << 40), version="vim.version.version9").decode()
print(re.search(r"<value.*</value>", sent)[0])
PY
seen=$("$work/venv/bin/python" "$work/large.py")
echo "pyvmomi 9.1.1.0: $seen"
[ "$seen" = '<value xsi:type="xsd:int">1099511627776</value>' ] || { echo "this has changed" >&2; exit 1; }
