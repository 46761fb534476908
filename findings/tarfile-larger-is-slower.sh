#!/bin/bash
# Python 3.11's tarfile, an archive that is read as a stream (mode "r|"): what `bufsize` costs.
#
# One would guess that more bytes a read are fewer reads, and so that a large `bufsize` is as quick as a small one or quicker.
#
# Seen: for each header, and for each part of a file, all that was read ahead is copied, to be what was read ahead without
# that part. So an archive of many small files takes time in proportion to its files times `bufsize`: with 8 MiB some twenty times
# what it takes with 64 KiB. What an archive of a few large files gains is not worth it: use 64 KiB, or the 10 KiB of the default.
set -euo pipefail
seen=$(python3 - <<'PY'
import io
import tarfile
import time

archive = io.BytesIO()
with tarfile.open(fileobj=archive, mode="w") as tar:
    for number in range(4000):
        info = tarfile.TarInfo(f"f{number}")
        info.size = 1000
        tar.addfile(info, io.BytesIO(bytes(1000)))


def read_s(bufsize):
    archive.seek(0)
    begin = time.process_time()
    with tarfile.open(fileobj=archive, mode="r|", bufsize=bufsize) as tar:
        assert sum(len(tar.extractfile(member).read()) for member in tar) == 4000 * 1000
    return time.process_time() - begin


small, large = (min(read_s(bufsize) for _ in range(2)) for bufsize in (64 << 10, 8 << 20))
print("8 MiB at a time is slower by far" if large > 4 * small else "8 MiB at a time is as quick, or nearly")
PY
)
echo "$seen"
[ "$seen" = "8 MiB at a time is slower by far" ] || { echo "this has changed" >&2; exit 1; }
