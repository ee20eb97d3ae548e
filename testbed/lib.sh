# Shared by the test bed's scripts: where things lie, the ports, and processes that are started and stopped by their own pid files.
# Everything can be set from the environment; two beds run side by side with two TESTBED_PORT_BASE values.
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

: "${TESTBED_PORT_BASE:=25000}"
: "${TESTBED_IP:=127.0.0.1}"
: "${TESTBED_HOST:=localhost}"         # XMPP domain and Matrix server name
: "${TESTBED_USER:=nobody}"            # who runs the daemons when the scripts are started by root
if [ "$(id -u)" = 0 ]; then            # root's home is closed to the daemons' user
  : "${LOCKBRIDGE_CACHE:=/var/cache/lockbridge}"
else
  : "${LOCKBRIDGE_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/lockbridge}"
fi
: "${TESTBED_DIR:=/var/tmp/lockbridge-testbed-$(id -u)-$TESTBED_PORT_BASE}"   # the bed's data, logs, pid files
: "${TESTBED_SLOTS:=12}"                # how many Lockbridges may run at once: components and application services
: "${PG_FSYNC:=off}"                   # on: for benchmarks that mean it
VENV=$LOCKBRIDGE_CACHE/synapse
DENDRITE_BIN=$LOCKBRIDGE_CACHE/dendrite

PORT_HTTPS=$((TESTBED_PORT_BASE + 280)) PORT_COMPONENT=$((TESTBED_PORT_BASE + 347))
PORT_C2S=$((TESTBED_PORT_BASE + 222)) PORT_C2S_TLS=$((TESTBED_PORT_BASE + 223))
PORT_MATRIX=$((TESTBED_PORT_BASE + 8)) PORT_POSTGRES=$((TESTBED_PORT_BASE + 432))
PORT_IRC=$((TESTBED_PORT_BASE + 667)) PORT_IRC_TLS=$((TESTBED_PORT_BASE + 697)) PORT_IRC_LINK=$((TESTBED_PORT_BASE + 700))
port_appservice() { echo $((TESTBED_PORT_BASE + 330 - 1 + $1)); }      # where slot N listens for the homeserver
port_lockbridge() { echo $((TESTBED_PORT_BASE + 380 - 1 + $1)); }      # health and metrics of slot N
port_media() { echo $((TESTBED_PORT_BASE + 400 - 1 + $1)); }           # the links to files of slot N

installed_homeserver() { cat "$LOCKBRIDGE_CACHE/homeserver" 2>/dev/null || echo synapse; }

# started PID: the kernel's start time of a live process; fails for a dead one and for a zombie, which still answers kill -0.
started() {
  local stat
  stat=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) && [ -n "$stat" ] || return 1
  set -- $stat
  [ "$1" != Z ] && [ "$1" != X ] && echo "${20}"
}
running() { started "$1" >/dev/null; }

# A pid file holds "PID STARTTIME": after a reboot the number may belong to somebody else.
alive() {
  local pid when
  read -r pid when 2>/dev/null <"$TESTBED_DIR/pids/$1" && [ "$(started "$pid")" = "$when" ]
}

# spawn NAME COMMAND...: starts a daemon detached in its own data folder, as the unprivileged user when we are root.
spawn() {
  local name=$1 pid drop=(); shift
  [ "$(id -u)" != 0 ] || drop=(setpriv --reuid "$TESTBED_USER" --regid "$(id -gn "$TESTBED_USER")" --clear-groups)
  ( cd "$TESTBED_DIR/$name" && exec setsid "${drop[@]}" env HOME="$TESTBED_DIR/$name" "$@" >>"$TESTBED_DIR/log/$name.log" 2>&1 </dev/null 9>&- ) &
  pid=$!
  echo "$pid $(started $pid)" >"$TESTBED_DIR/pids/$name"
}

# as_daemon COMMAND...: runs a command to its end as the daemons' user.
as_daemon() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid "$TESTBED_USER" --regid "$(id -gn "$TESTBED_USER")" --clear-groups env HOME="$TESTBED_DIR" "$@"; else "$@"; fi
}

# own PATH...: gives files to the daemons' user.
own() { [ "$(id -u)" != 0 ] || chown -R "$TESTBED_USER:$(id -gn "$TESTBED_USER")" "$@"; }

# halt NAME [SIGNAL]: stops what spawn started, and only that.
halt() {
  local pid _ i
  if alive "$1"; then
    read -r pid _ <"$TESTBED_DIR/pids/$1"
    kill -"${2:-TERM}" "$pid"
    for ((i = 0; i < 600; i++)); do running "$pid" || break; sleep 0.05; done
    if running "$pid"; then echo "testbed: $1 did not stop within 30 s: killed" >&2; kill -KILL "$pid"; fi
  fi
  rm -f "$TESTBED_DIR/pids/$1" "$TESTBED_DIR/pids/$1.conf"
}

open_port() { (exec 3<>"/dev/tcp/$TESTBED_IP/$1") 2>/dev/null; }

# free_port NAME PORT...: says so when somebody else listens where a daemon is to.
free_port() {
  local name=$1 port; shift
  for port in "$@"; do
    ! open_port "$port" || { echo "testbed: $name cannot start: port $port is taken; TESTBED_PORT_BASE chooses others" >&2; return 1; }
  done
}

# await NAME COMMAND...: waits until the command succeeds, 3 minutes at most, or the daemon dies.
await() {
  local name=$1 i; shift
  for ((i = 0; i < 1800; i++)); do
    if "$@"; then return; fi
    alive "$name" || break
    sleep 0.1
  done
  echo "testbed: $name did not come up; its log ends so:" >&2
  tail -25 "$TESTBED_DIR/log/$name.log" >&2
  return 1
}

# current NAME FILE...: true when the daemon runs with exactly these files; else it is stopped, to be started anew.
current() {
  local name=$1 sum; shift
  sum=$(cat "$@" | sha256sum)
  if alive "$name" && [ "$(cat "$TESTBED_DIR/pids/$name.conf" 2>/dev/null)" = "$sum" ]; then return; fi
  halt "$name" "$([ "$name" = postgres ] && echo INT || echo TERM)"
  echo "$sum" >"$TESTBED_DIR/pids/$name.conf"
  return 1
}
