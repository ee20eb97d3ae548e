#!/bin/bash
# Stops what up.sh started, by the recorded process ids only. --wipe also removes the bed's data.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ -d "$TESTBED_DIR/pids" ] || exit 0
exec 9>"$TESTBED_DIR/lock"
flock 9
jobs=()
for name in synapse dendrite anope inspircd prosody ejabberd; do halt $name & jobs+=($!); done
halt postgres INT & jobs+=($!)       # INT: a fast shutdown, that does not wait for clients
for j in "${jobs[@]}"; do wait "$j"; done
if [ "${1:-}" = --wipe ]; then rm -rf "$TESTBED_DIR"; fi
