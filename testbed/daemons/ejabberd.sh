# ejabberd in Prosody's place (XMPP_SERVER=ejabberd): the same doors, accounts and components, and its own ways. The Erlang machine
# is started without distribution, so that it needs neither epmd nor a cookie nor a user of its own.
# EJABBERD_LOG is its log level.

ejabberd_config() {
  local dir=$TESTBED_DIR/ejabberd n puppets=
  for ((n = 1; n <= TESTBED_SLOTS; n++)); do puppets="$puppets, { server: \"$(component_of $n)\" }"; done
  cat <<C
loglevel: ${EJABBERD_LOG:-info}
hosts: [ "$TESTBED_HOST" ]
certfiles: [ "$TESTBED_DIR/tls/both.pem" ]
auth_method: internal
auth_password_format: scram
s2s_access: none
# With one password instead of a list of hosts, each component gets its own traffic; a listener with a list gives every connection all of it.
listen:
  - { port: $PORT_C2S, ip: "$TESTBED_IP", module: ejabberd_c2s, starttls: true, max_stanza_size: 1048576, access: all }
  - { port: $PORT_C2S_TLS, ip: "$TESTBED_IP", module: ejabberd_c2s, tls: true, max_stanza_size: 1048576, access: all }
  - { port: $PORT_HTTPS, ip: "$TESTBED_IP", module: ejabberd_http, tls: true, request_handlers: { /upload: mod_http_upload } }
  - port: $PORT_COMPONENT
    ip: "$TESTBED_IP"
    module: ejabberd_service
    access: all
    max_stanza_size: 1048576
    password: "$COMPONENT_SECRET"
# The conditions of one "allow" must all hold, so that people and puppets need a rule each.
acl: { people: { user_regexp: "" }, puppets: [ ${puppets#, } ] }
access_rules: { uploaders: [ { allow: people }, { allow: puppets } ] }
modules:
  mod_adhoc: {}
  mod_blocking: {}
  mod_caps: {}
  mod_carboncopy: {}
  mod_disco: {}
  mod_http_upload: { hosts: [ "upload.@HOST@" ], docroot: "$dir/upload", put_url: "https://$TESTBED_IP:$PORT_HTTPS/upload", access: uploaders, max_size: 67108864 }
  mod_mam: { db_type: mnesia, default: always, assume_mam_usage: true }
  mod_muc:
    hosts: [ "conference.@HOST@" ]
    access: all
    access_create: all
    access_persistent: all
    access_mam: all
    default_room_options: { mam: true, persistent: false, allow_change_subj: true }
  mod_offline: {}
  mod_ping: {}
  mod_privacy: {}
  mod_private: {}
  mod_pubsub: { plugins: [ flat, pep ], access_createnode: all }
  mod_register: { ip_access: all, access: all, welcome_message: {} }
  mod_roster: { versioning: true }
  mod_stream_mgmt: {}
  mod_vcard: {}
  mod_version: {}
registration_timeout: infinity
C
}

# ejabberd_registers USER: makes an account in-band; one that exists is refused, and that is fine.
ejabberd_registers() {
  local answer
  exec 3<>"/dev/tcp/$TESTBED_IP/$PORT_C2S"
  printf "<stream:stream to='%s' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
<iq type='set' id='r'><query xmlns='jabber:iq:register'><username>%s</username><password>pw-%s</password></query></iq></stream:stream>" \
    "$TESTBED_HOST" "$1" "$1" >&3
  answer=$(timeout 10 cat <&3)
  exec 3>&-
  [[ $answer == *"type='result'"* || $answer == *conflict* ]]
}

start_ejabberd() {
  local dir=$TESTBED_DIR/ejabberd libs user
  mkdir -p "$dir/mnesia" "$dir/upload"
  cat "$TESTBED_DIR/tls/key.pem" "$TESTBED_DIR/tls/cert.pem" >"$TESTBED_DIR/tls/both.pem"
  ejabberd_config >"$dir/ejabberd.yml"
  own "$dir" "$TESTBED_DIR/tls"
  if current ejabberd "$dir/ejabberd.yml"; then return; fi
  free_port ejabberd "$PORT_C2S" "$PORT_COMPONENT" "$PORT_HTTPS"
  libs=$(dirname "$(ls -d /usr/lib/*/ejabberd-*/ | sort -V | tail -1)")
  spawn ejabberd env EJABBERD_CONFIG_PATH="$dir/ejabberd.yml" EJABBERD_LOG_PATH="$dir/ejabberd.log" ERL_LIBS="${ERL_LIBS:-$libs}" \
    ERL_CRASH_DUMP="$dir/erl_crash.dump" ERL_MAX_PORTS=4096 erl +K true +P 250000 -noinput -mnesia dir "\"$dir/mnesia\"" -s ejabberd
  await ejabberd open_port "$PORT_COMPONENT"
  await ejabberd open_port "$PORT_C2S"
  for user in juliet romeo mercutio nurse; do
    await ejabberd ejabberd_registers "$user"
  done
}
