#!/bin/bash
# homeserver.sh start|stop|restart: the Matrix homeserver alone. AS_REGISTRATION=FILE adds that application service (see daemons/synapse.sh).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
for f in "$HERE"/daemons/*.sh; do . "$f"; done
exec 9>"$TESTBED_DIR/lock"
flock 9
homeserver=${HOMESERVER:-$(installed_homeserver)}
case ${1:-} in
  stop) halt "$homeserver" ;;
  start) "start_$homeserver" ;;
  restart) halt "$homeserver"; "start_$homeserver" ;;
  *) sed -n 2p "$0"; exit 2 ;;
esac
