#!/bin/bash
# PostgreSQL 15 (Debian 12, postgresql-15 15.20-0+deb12u1) as the first process of a container, as Docker's images have it.
#
# One would guess that a process which a health check left behind (it was late, its shell was killed, its child lives on) is
# nobody's business: the first process of the container reaps it, and that is all.
#
# Seen: postgres takes whichever child ends otherwise than with 0 or 1 for a server process of its own that has crashed. It
# says "server process (PID n) was terminated by signal 13" (or "exited with exit code 2", which is what pg_isready ends with),
# ends all connections and begins anew. So a busy machine, on which probes are late, shows a database that fails now and then,
# and nobody else than the probe was at fault. With an init (`--init`) such a child is the init's.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "SKIP: needs root"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
version=15.20-0+deb12u1
(cd "$folder" && apt-get download -qq "postgresql-15=$version" libldap-2.5-0 libsasl2-2 >"$folder/log" 2>&1) ||
    { echo "SKIP: postgresql-15 $version is not to be had"; exit 0; }
for each in "$folder"/*.deb; do dpkg -x "$each" "$folder/root"; done
export BIN=$folder/root/usr/lib/postgresql/15/bin DATA=$folder/data SAID=$folder/said
export LD_LIBRARY_PATH=$folder/root/usr/lib/$(gcc -print-multiarch 2>/dev/null || echo x86_64-linux-gnu)
"$BIN/postgres" --version || { echo "SKIP: its libraries are not here"; exit 0; }
install -d -o nobody "$DATA"
touch "$SAID" && chown nobody "$SAID"
run() { setpriv --reuid nobody --clear-groups "$@"; }
run "$BIN/initdb" -D "$DATA" --no-sync --no-locale -A trust -U postgres >"$folder/log" 2>&1
# In a PID namespace of its own, whose first process becomes postgres, and beside it a shell that leaves a child behind.
cat >"$folder/first" <<'SH'
(until grep -q "ready to accept" "$SAID"; do sleep 0.1; done
sh -c '(sleep 0.5; kill -PIPE $(sh -c "echo \$PPID")) & exit 0'
until grep -q "signal 13" "$SAID" || [ "$((n += 1))" -gt 100 ]; do sleep 0.1; done
kill -QUIT 1) &
exec setpriv --reuid nobody --clear-groups "$BIN/postgres" -D "$DATA" -c listen_addresses= -c "unix_socket_directories=$DATA" \
    >"$SAID" 2>&1
SH
unshare --pid --fork --kill-child --mount-proc sh "$folder/first" || true
grep "signal 13" "$SAID" || { cat "$SAID"; echo "CHANGED: it does not mind others' children any more"; exit 1; }
grep -q "reinitializing" "$SAID" && echo "as described: a child that was not its own has made it begin anew"
