#!/bin/bash
# Stops or starts one daemon of a bed that is up, as a crash or an administrator would.
#
#   daemon.sh stop NAME [SIGNAL]     returns when it has ended (TERM)
#   daemon.sh start NAME             returns when it answers
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
for f in "$HERE"/daemons/*.sh; do . "$f"; done
exec 9>"$TESTBED_DIR/lock"
flock 9
case $1 in
  stop)
    pid=$(cut -d ' ' -f 1 "$TESTBED_DIR/pids/$2")
    halt "$2" "${3:-TERM}"
    # Postgres takes a zombie for a running server.
    for ((i = 0; i < 200; i++)); do [ -d "/proc/$pid" ] || break; sleep 0.05; done
    ;;
  start) start_"$2" ;;
  *) echo "daemon.sh: stop or start" >&2; exit 2 ;;
esac
