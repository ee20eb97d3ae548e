#!/bin/bash
# Starts the test bed on loopback, or what of it is not running as configured, and writes its addresses to $TESTBED_DIR/env.
# Idempotent: a daemon whose configuration changed is restarted, the others are left alone. setup.sh must have run before.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
for f in "$HERE"/daemons/*.sh; do . "$f"; done

mkdir -p "$TESTBED_DIR"
if [ ! -O "$TESTBED_DIR" ]; then echo "testbed: $TESTBED_DIR belongs to somebody else; set TESTBED_DIR" >&2; exit 1; fi
mkdir -p "$TESTBED_DIR"/{pids,log,slots}
exec 9>"$TESTBED_DIR/lock"
flock 9

homeserver=${HOMESERVER:-$(installed_homeserver)}
xmpp=${XMPP_SERVER:-prosody}
write_env() {
  cat <<C
TESTBED_DIR=$TESTBED_DIR
HOST=$TESTBED_HOST
IP=$TESTBED_IP
HERE=$HERE
HOMESERVER=$homeserver
XMPP_SERVER=$xmpp
SLOTS=$TESTBED_SLOTS
C2S_PORT=$PORT_C2S
C2S_TLS_PORT=$PORT_C2S_TLS
COMPONENT_PORT=$PORT_COMPONENT
COMPONENT_SECRET=$COMPONENT_SECRET
MATRIX_PORT=$PORT_MATRIX
APPSERVICE_PORT=$(port_appservice 1)
LOCKBRIDGE_PORT=$(port_lockbridge 1)
MEDIA_PORT=$(port_media 1)
IRC_PORT=$PORT_IRC
IRC_TLS_PORT=$PORT_IRC_TLS
POSTGRES_PORT=$PORT_POSTGRES
PSQL=$PGBIN/psql
CERTIFICATE=$TESTBED_DIR/tls/cert.pem
C
}

begin=$(date +%s%N)
make_certificate
jobs=()
start_postgres & jobs+=($!)
{ halt "$([ "$xmpp" = prosody ] && echo ejabberd || echo prosody)"; start_"$xmpp"; } & jobs+=($!)
{ start_inspircd; start_anope; } & jobs+=($!)
start_"$homeserver" & jobs+=($!)
failed=0
for j in "${jobs[@]}"; do wait "$j" || failed=1; done
if [ $failed = 1 ]; then echo "testbed: not up; logs are in $TESTBED_DIR/log" >&2; exit 1; fi
write_env >"$TESTBED_DIR/env.new" && mv "$TESTBED_DIR/env.new" "$TESTBED_DIR/env"
echo "testbed: up in $((($(date +%s%N) - begin) / 1000000)) ms in $TESTBED_DIR ($homeserver, $xmpp, inspircd, anope, postgres)"
