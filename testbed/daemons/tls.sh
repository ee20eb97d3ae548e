# One self-signed certificate for every name of the bed.
make_certificate() {
  local dir=$TESTBED_DIR/tls
  [ ! -f "$dir/cert.pem" ] || return 0
  mkdir -p "$dir"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$TESTBED_HOST" \
    -addext "subjectAltName=DNS:$TESTBED_HOST,DNS:stock.$TESTBED_HOST,DNS:conference.$TESTBED_HOST,DNS:upload.$TESTBED_HOST,DNS:irc.$TESTBED_HOST,IP:$TESTBED_IP" \
    -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>"$TESTBED_DIR/log/openssl.log"
  own "$dir"
}
