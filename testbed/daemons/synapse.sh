# Synapse on SQLite, without federation, presence, rate limits and fsync. It reads the registrations of application services at its start only: one
# for each slot lies in registrations/, and AS_REGISTRATION=FILE adds one more (empty: takes it away), which restarts Synapse.
: "${REGISTRATION_SECRET:=registration-secret}"

slot_prefix() { if [ "$1" = 1 ]; then echo lb_; else echo "lb$1_"; fi; }

registration_of() {
  local n=$1 prefix; prefix=$(slot_prefix "$n")
  cat <<C
id: $(nick_of "$n")
url: http://$TESTBED_IP:$(port_appservice "$n")
as_token: as-token-$n
hs_token: hs-token-$n
sender_localpart: $(nick_of "$n")
rate_limited: false
receive_ephemeral: true
de.sorunome.msc2409.push_ephemeral: true
org.matrix.msc3202: true
io.element.msc4190: true
namespaces:
  users:
    - regex: '@$prefix.+:$TESTBED_HOST'
      exclusive: true
  aliases:
    - regex: '#$prefix.+:$TESTBED_HOST'
      exclusive: true
  rooms: []
C
}

# A gateway may be reading its registration at this moment, so the files are replaced whole.
write_registrations() {
  local dir=$TESTBED_DIR/registrations n
  mkdir -p "$dir"
  for ((n = 1; n <= TESTBED_SLOTS; n++)); do
    registration_of $n >"$dir/slot$n.new"
    mv "$dir/slot$n.new" "$dir/slot$n.yaml"
  done
  if [ -n "${AS_REGISTRATION:-}" ]; then cp "$AS_REGISTRATION" "$dir/extra.yaml"
  elif [ -n "${AS_REGISTRATION+set}" ]; then rm -f "$dir/extra.yaml"; fi
  own "$dir"
}

synapse_config() {
  local dir=$TESTBED_DIR/synapse f limit='{ per_second: 100000, burst_count: 100000 }'
  cat <<C
server_name: $TESTBED_HOST
public_baseurl: http://$TESTBED_IP:$PORT_MATRIX/
listeners:
  - { port: $PORT_MATRIX, type: http, tls: false, bind_addresses: ["$TESTBED_IP"], resources: [{ names: [client], compress: false }] }
database: { name: sqlite3, args: { database: "$dir/homeserver.db" } }
log_config: "$dir/log.yaml"
media_store_path: "$dir/media"
signing_key_path: "$dir/signing.key"
macaroon_secret_key: testbed
form_secret: testbed
registration_shared_secret: "$REGISTRATION_SECRET"
enable_registration: true
enable_registration_without_verification: true
report_stats: false
trusted_key_servers: []
federation_domain_whitelist: []
bcrypt_rounds: 4
presence: { enabled: false }
send_federation: false
url_preview_enabled: false
max_upload_size: 128M
filter_timeline_limit: 5000
rc_message: $limit
rc_registration: $limit
rc_joins: { local: $limit, remote: $limit }
rc_joins_per_room: $limit
rc_invites: { per_room: $limit, per_user: $limit, per_issuer: $limit }
rc_login: { address: $limit, account: $limit, failed_attempts: $limit }
rc_room_creation: $limit
rc_presence: { per_user: $limit }
rc_admin_redaction: $limit
app_service_config_files:
C
  for f in "$TESTBED_DIR"/registrations/*.yaml; do echo "  - $f"; done
}

# Synapse has no setting for it: its databases are opened without fsync. Else it spends three quarters of its time waiting for the disk,
# some ten commits for each message, and nobody here needs it to outlive the machine.
synapse_unsynced() {
  cat <<'C'
import runpy, sqlite3

connect = sqlite3.connect


def unsynced(*args, **kwargs):
    connection = connect(*args, **kwargs)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


sqlite3.connect = unsynced
runpy.run_module("synapse.app.homeserver", run_name="__main__", alter_sys=True)
C
}

start_synapse() {
  local dir=$TESTBED_DIR/synapse user
  mkdir -p "$dir"
  write_registrations
  [ -f "$dir/signing.key" ] || echo "ed25519 a_bed $(openssl rand -base64 32 | tr -d =)" >"$dir/signing.key"
  cat >"$dir/log.yaml" <<C
version: 1
formatters: { line: { format: '%(asctime)s %(levelname)s %(name)s %(message)s' } }
handlers: { console: { class: logging.StreamHandler, formatter: line } }
root: { level: ${SYNAPSE_LOG:-WARNING}, handlers: [console] }
C
  synapse_config >"$dir/homeserver.yaml"
  synapse_unsynced >"$dir/unsynced.py"
  own "$dir"
  if current synapse "$dir/homeserver.yaml" "$dir/unsynced.py" "$dir/log.yaml" "$TESTBED_DIR"/registrations/*.yaml; then return; fi
  free_port synapse "$PORT_MATRIX"
  spawn synapse "$VENV/bin/python" "$dir/unsynced.py" -c "$dir/homeserver.yaml"
  await synapse matrix_ready
  matrix_accounts
}

matrix_ready() { curl -sf -o /dev/null "http://$TESTBED_IP:$PORT_MATRIX/_matrix/client/versions"; }

# The accounts that people log in with; a second registration of the same name is refused and that is fine.
matrix_accounts() {
  local user
  for user in montague capulet; do
    curl -s -o /dev/null "http://$TESTBED_IP:$PORT_MATRIX/_matrix/client/v3/register" -H 'Content-Type: application/json' \
      -d "{\"username\":\"$user\",\"password\":\"pw-$user\",\"inhibit_login\":true,\"auth\":{\"type\":\"m.login.dummy\"}}"
  done
}
