#!/bin/bash
# servers.sh up|down: what `make bench-relay` needs of the test bed, configured for speed: Prosody with everything in memory, no archive and
# no limits, InspIRCd without flood limits, PostgreSQL (PG_FSYNC=on). Each is stopped by its recorded process id only.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
for f in "$HERE"/daemons/*.sh; do . "$f"; done

prosody_for_speed() {
  local n
  cat <<C
pidfile = "$TESTBED_DIR/prosody/prosody.pid"
data_path = "$TESTBED_DIR/prosody/data"
log = { { levels = { min = "warn" }, to = "console" } }
interfaces = { "$TESTBED_IP" }
c2s_ports = { $PORT_C2S }
component_interfaces = { "$TESTBED_IP" }
component_ports = { $PORT_COMPONENT }
modules_enabled = { "roster"; "saslauth"; "disco"; "pep"; "ping"; "register_ibr" }
modules_disabled = { "s2s"; "tls"; "offline" }
authentication = "internal_hashed"
storage = "memory"
allow_registration = true
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
limits = { }

VirtualHost "$TESTBED_HOST"

Component "conference.$TESTBED_HOST" "muc"
  restrict_room_creation = false
  muc_room_locking = false
C
  for ((n = 1; n <= TESTBED_SLOTS; n++)); do
    printf '\nComponent "%s"\n  component_secret = "%s"\n' "$(component_of $n)" "$COMPONENT_SECRET"
  done
}

# InspIRCd ends a client that says more than a thousand lines in a second for long: here it may be a million.
eval "bed_$(declare -f inspircd_config)"
inspircd_config() { bed_inspircd_config | sed 's/threshold="[0-9]*" commandrate="[0-9]*"/threshold="1000000" commandrate="1000000000"/'; }

start_fast_prosody() {
  local dir=$TESTBED_DIR/prosody
  mkdir -p "$dir/data"
  prosody_for_speed >"$dir/prosody.cfg.lua"
  own "$dir"
  free_port prosody "$PORT_C2S" "$PORT_COMPONENT"
  spawn prosody prosody --config "$dir/prosody.cfg.lua" -F
  await prosody open_port "$PORT_COMPONENT"
  await prosody open_port "$PORT_C2S"
}

down() { halt prosody; halt inspircd; halt postgres INT; }

mkdir -p "$TESTBED_DIR"/{pids,log}
exec 9>"$TESTBED_DIR/lock"
flock 9
case ${1:-} in
  up)
    down                                # fresh servers: what an earlier run left in their memory would slow them
    make_certificate
    start_postgres; start_inspircd; start_fast_prosody
    cat <<C
ip=$TESTBED_IP
host=$TESTBED_HOST
c2s=$TESTBED_IP:$PORT_C2S
component=$TESTBED_IP:$PORT_COMPONENT
secret=$COMPONENT_SECRET
irc=$TESTBED_IP:$PORT_IRC
postgres=postgres://postgres@$TESTBED_IP:$PORT_POSTGRES
http=$(port_lockbridge 1)
prosody=$(cut -d' ' -f1 "$TESTBED_DIR/pids/prosody")
inspircd=$(cut -d' ' -f1 "$TESTBED_DIR/pids/inspircd")
postmaster=$(cut -d' ' -f1 "$TESTBED_DIR/pids/postgres")
C
    ;;
  down) down ;;
  *) sed -n 2p "$0"; exit 2 ;;
esac
