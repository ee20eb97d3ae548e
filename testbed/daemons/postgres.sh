# PostgreSQL 15 with two databases, lockbridge and lockbridge_test; the e2e tests make further ones of their own.
PGBIN=${PGBIN:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)}

start_postgres() {
  local dir=$TESTBED_DIR/postgres db
  if [ ! -f "$dir/data/PG_VERSION" ]; then
    rm -rf "$dir"; mkdir -p "$dir/run"; own "$dir"
    as_daemon "$PGBIN/initdb" -D "$dir/data" -U postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$TESTBED_DIR/log/initdb.log" 2>&1
    echo "include 'testbed.conf'" >>"$dir/data/postgresql.conf"
  fi
  cat >"$dir/data/testbed.conf" <<C
listen_addresses = '$TESTBED_IP'
port = $PORT_POSTGRES
unix_socket_directories = '$dir/run'
max_connections = 200
fsync = $PG_FSYNC
synchronous_commit = $PG_FSYNC
full_page_writes = $PG_FSYNC
C
  own "$dir/data/testbed.conf"
  if current postgres "$dir/data/testbed.conf"; then return; fi
  free_port postgres "$PORT_POSTGRES"
  spawn postgres "$PGBIN/postgres" -D "$dir/data"
  await postgres "$PGBIN/pg_isready" -q -h "$TESTBED_IP" -p "$PORT_POSTGRES"
  for db in lockbridge lockbridge_test; do
    "$PGBIN/psql" -qAt -h "$TESTBED_IP" -p "$PORT_POSTGRES" -U postgres -c "select 1 from pg_database where datname = '$db'" | grep -qx 1 ||
      "$PGBIN/createdb" -h "$TESTBED_IP" -p "$PORT_POSTGRES" -U postgres "$db"
  done
}
