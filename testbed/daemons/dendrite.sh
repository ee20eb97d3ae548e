# Dendrite on SQLite, for text scenarios where Synapse cannot be had. It pushes neither redactions nor ephemeral events.

dendrite_config() {
  local dir=$TESTBED_DIR/dendrite f section
  cat <<C
version: 2
global:
  server_name: $TESTBED_HOST
  private_key: $dir/signing.pem
  trusted_third_party_id_servers: []
  disable_federation: true
  presence: { enable_inbound: true, enable_outbound: true }
  report_stats: { enabled: false }
  jetstream: { storage_path: $dir/jetstream, topic_prefix: Bed }
client_api:
  registration_disabled: false
  guests_disabled: true
  rate_limiting: { enabled: false }
logging: [{ type: std, level: warn }]
C
  # A section with nothing under it would lose its defaults, so each one names its database and no more than it must.
  for section in federation_api key_server mscs relay_api room_server sync_api; do
    printf '%s:\n  database: { connection_string: "file:%s/%s.db" }\n' $section "$dir" $section
  done
  printf 'media_api:\n  base_path: %s/media\n  database: { connection_string: "file:%s/media_api.db" }\n' "$dir" "$dir"
  printf 'user_api:\n  bcrypt_cost: 4\n  account_database: { connection_string: "file:%s/user_api.db" }\n' "$dir"
  printf 'app_service_api:\n  database: { connection_string: "file:%s/app_service_api.db" }\n  config_files:\n' "$dir"
  for f in "$TESTBED_DIR"/registrations/*.yaml; do echo "    - $f"; done
}

start_dendrite() {
  local dir=$TESTBED_DIR/dendrite
  mkdir -p "$dir/jetstream" "$dir/media"
  write_registrations
  [ -f "$dir/signing.pem" ] || "$DENDRITE_BIN/generate-keys" --private-key "$dir/signing.pem" >"$TESTBED_DIR/log/generate-keys.log" 2>&1
  dendrite_config >"$dir/dendrite.yaml"
  own "$dir"
  if current dendrite "$dir/dendrite.yaml" "$TESTBED_DIR"/registrations/*.yaml; then return; fi
  free_port dendrite "$PORT_MATRIX"
  spawn dendrite "$DENDRITE_BIN/dendrite" --config "$dir/dendrite.yaml" --http-bind-address "$TESTBED_IP:$PORT_MATRIX" --really-enable-open-registration
  await dendrite matrix_ready
  matrix_accounts
}
