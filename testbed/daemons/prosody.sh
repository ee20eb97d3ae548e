# Prosody: two domains of accounts, rooms with an archive and moderation, file upload, and one external component for each slot.
# PROSODY_EXTRA lists further modules of the first domain; the second one (stock.*) is Prosody as it comes.
: "${PROSODY_EXTRA=pubsub_on_host}"
: "${COMPONENT_SECRET:=component-secret}"

prosody_config() {
  local dir=$TESTBED_DIR/prosody extra= m n
  for m in $PROSODY_EXTRA; do extra="$extra\"$m\"; "; done
  cat <<C
pidfile = "$dir/prosody.pid"
data_path = "$dir/data"
plugin_paths = { "$dir/modules" }
admin_socket = "$dir/admin.sock"
log = { { levels = { min = "${PROSODY_LOG:-info}" }, to = "console" } }
interfaces = { "$TESTBED_IP" }
c2s_ports = { $PORT_C2S }
c2s_direct_tls_ports = { $PORT_C2S_TLS }
component_interfaces = { "$TESTBED_IP" }
component_ports = { $PORT_COMPONENT }
https_interfaces = { "$TESTBED_IP" }
http_ports = { }
https_ports = { $PORT_HTTPS }
http_external_url = "https://$TESTBED_IP:$PORT_HTTPS/"
ssl = { key = "$TESTBED_DIR/tls/key.pem"; certificate = "$TESTBED_DIR/tls/cert.pem" }
modules_enabled = {
  "roster"; "saslauth"; "tls"; "disco"; "pep"; "mam"; "carbons"; "smacks"; "blocklist"; "vcard_legacy"; "bookmarks";
  "ping"; "time"; "version"; "offline"; "register_ibr"; "http"; "admin_shell";
}
modules_disabled = { "s2s" }
authentication = "internal_hashed"
storage = "internal"
allow_registration = true
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
archive_expires_after = "1w"
limits = { }

VirtualHost "$TESTBED_HOST"
  modules_enabled = { $extra}

VirtualHost "stock.$TESTBED_HOST"

Component "conference.$TESTBED_HOST" "muc"
  name = "Rooms"
  modules_enabled = { "muc_mam"; "muc_moderation" }
  restrict_room_creation = false
  muc_room_locking = false
  muc_log_by_default = true

Component "upload.$TESTBED_HOST" "http_file_share"
  http_file_share_size_limit = 64 * 1024 * 1024
  http_file_share_daily_quota = 16 * 1024 * 1024 * 1024
  http_host = "$TESTBED_IP"
C
  for ((n = 1; n <= TESTBED_SLOTS; n++)); do      # kick_old: a process that takes over need not wait for the old one's connection to end
    printf '\nComponent "%s"\n  component_secret = "%s"\n  component_conflict_resolve = "kick_old"\n' "$(component_of $n)" "$COMPONENT_SECRET"
  done
}

component_of() { if [ "$1" = 1 ]; then echo "bridge.$TESTBED_HOST"; else echo "bridge$1.$TESTBED_HOST"; fi; }

start_prosody() {
  local dir=$TESTBED_DIR/prosody user
  mkdir -p "$dir/data" "$dir/modules"
  cp "$HERE"/conf/prosody-modules/*.lua "$dir/modules/"
  prosody_config >"$dir/prosody.cfg.lua"
  own "$dir"
  if current prosody "$dir/prosody.cfg.lua" "$dir"/modules/*.lua; then return; fi
  free_port prosody "$PORT_C2S" "$PORT_COMPONENT" "$PORT_HTTPS"
  spawn prosody prosody --config "$dir/prosody.cfg.lua" -F
  for user in juliet romeo mercutio nurse; do
    [ -f "$dir/data/$TESTBED_HOST/accounts/$user.dat" ] ||
      as_daemon prosodyctl --config "$dir/prosody.cfg.lua" register "$user" "$TESTBED_HOST" "pw-$user" >>"$TESTBED_DIR/log/prosody.log" 2>&1
  done
  await prosody open_port "$PORT_COMPONENT"
  await prosody open_port "$PORT_C2S"
}
