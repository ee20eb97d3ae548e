#!/bin/bash
# Installs what the test bed needs and does not find: Debian packages, a Python environment with Synapse, or Dendrite.
# Idempotent: a stamp over the lists makes a second run return at once. Nothing is started.
#
#   setup.sh [LIST...]  installs the Debian packages of these files, too: what only a benchmark needs
#
#   LOCKBRIDGE_CACHE  where the environment and built programs live   (root: /var/cache/lockbridge, else ~/.cache/lockbridge)
#   HOMESERVER        synapse | dendrite; unset: Synapse, or Dendrite where PyPI cannot be reached (an error with CI=true)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mkdir -p "$LOCKBRIDGE_CACHE"
exec 9>"$LOCKBRIDGE_CACHE/setup.lock"
flock 9

steps=3 step=0
# run WHAT CMD...: one step of the set-up, with its number and elapsed seconds; the output goes to a log that is shown on failure.
run() {
  local what=$1 log=$LOCKBRIDGE_CACHE/setup.log start=$SECONDS pid; shift
  step=$((step + 1))
  "$@" >"$log" 2>&1 </dev/null 9>&- &
  pid=$!
  while running $pid; do
    if [ -t 1 ]; then printf '\r[%d/%d] %s ... %d s ' $step $steps "$what" $((SECONDS - start))
    elif [ $(((SECONDS - start) % 15)) = 0 ]; then printf '[%d/%d] %s ... %d s\n' $step $steps "$what" $((SECONDS - start)); fi
    sleep 1
  done
  if wait $pid; then
    if [ -t 1 ]; then printf '\r'; fi
    printf '[%d/%d] %s: done in %d s    \n' $step $steps "$what" $((SECONDS - start))
  else
    printf '\n[%d/%d] %s: FAILED after %d s; its last lines were:\n' $step $steps "$what" $((SECONDS - start)) >&2
    tail -25 "$log" >&2
    return 1
  fi
}

skip() { step=$((step + 1)); printf '[%d/%d] %s\n' $step $steps "$1"; }

missing_packages() {
  local p
  for p in "$@"; do dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || echo "$p"; done
}

# install_packages PACKAGE...: policy-rc.d keeps the packages' own daemons from starting; units that came with them are switched off.
install_packages() {
  local as_root=() policy=/usr/sbin/policy-rc.d ours= unit rc=0
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  "${as_root[@]}" apt-get update -q
  if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy; "${as_root[@]}" chmod 755 $policy; ours=1; fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" || rc=$?
  [ -z "$ours" ] || "${as_root[@]}" rm -f $policy
  if [ -d /run/systemd/system ]; then
    for unit in "$@"; do
      case $unit in prosody|ejabberd|inspircd|anope|postgresql-*) "${as_root[@]}" systemctl disable --now "${unit%%-*}" || true;; esac
    done
  fi
  return $rc
}

apt_step() {
  local wanted missing
  wanted=$(sed 's/#.*//' "$HERE/apt.txt" "${more[@]}")
  [ "$HOMESERVER" != dendrite ] || wanted="$wanted gcc libc6-dev"
  missing=$(missing_packages $wanted)
  if [ -z "$missing" ]; then skip "Debian packages: all there"; return; fi
  if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
    echo "setup: these packages are missing and there is no sudo without a password; install them and run this again:" >&2
    echo "  apt-get install --no-install-recommends" $missing >&2
    return 1
  fi
  run "Debian packages ($(wc -w <<<"$missing") missing)" install_packages $missing
}

make_venv() {
  rm -rf "$VENV" && /usr/bin/python3 -m venv "$VENV" &&
    "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --only-binary :all: -r "$HERE/requirements.txt"
}

synapse_step() {
  local stamp; stamp=$(sha256sum <"$HERE/requirements.txt")
  if [ "$(cat "$VENV/stamp" 2>/dev/null)" = "$stamp" ]; then skip "Synapse: already there"; return; fi
  run "Synapse into $VENV" make_venv || return 1
  echo "$stamp" >"$VENV/stamp"
}

build_dendrite() {
  mkdir -p "$DENDRITE_BIN"
  cd "$HERE/dendrite" && go build -o "$DENDRITE_BIN/" github.com/element-hq/dendrite/cmd/dendrite github.com/element-hq/dendrite/cmd/generate-keys
}

dendrite_step() {
  local stamp; stamp=$(cat "$HERE/dendrite/go.mod" "$HERE/dendrite/go.sum" | sha256sum)
  if [ "$(cat "$DENDRITE_BIN/stamp" 2>/dev/null)" = "$stamp" ]; then skip "Dendrite: already built"; return; fi
  run "Dendrite, built from its Go module (some minutes)" build_dendrite || return 1
  echo "$stamp" >"$DENDRITE_BIN/stamp"
}

go_step() {
  if command -v go >/dev/null; then skip "Go: $(go env GOVERSION 2>/dev/null)"; return; fi
  echo "setup: there is no 'go' in PATH. Install Go 1.26 or newer from https://go.dev/dl/ (Debian 12's own is too old), then run this again." >&2
  return 1
}

more=("$@")
chosen=${HOMESERVER:-}
HOMESERVER=${chosen:-$(installed_homeserver)}
[ -n "$chosen" ] || [ "${CI:-}" != true ] || HOMESERVER=synapse
stamp=$(cat "$HERE/setup.sh" "$HERE/apt.txt" "$HERE/requirements.txt" "$HERE/dendrite/go.mod" "$HERE/dendrite/go.sum" | sha256sum | cut -c1-16)
if [ -z "$(missing_packages $(sed 's/#.*//' /dev/null "${more[@]}"))" ] && [ "$(cat "$LOCKBRIDGE_CACHE/stamp-$HOMESERVER" 2>/dev/null)" = "$stamp" ] && command -v prosody ejabberdctl inspircd profanity tmux go >/dev/null; then
  echo "testbed: everything is installed ($HOMESERVER)"
  exit 0
fi

begin=$SECONDS
go_step
apt_step
if [ "$HOMESERVER" = dendrite ]; then
  dendrite_step
elif ! synapse_step; then
  if [ -n "$chosen" ] || [ "${CI:-}" = true ]; then exit 1; fi
  echo "testbed: PyPI cannot be used, so Dendrite takes Synapse's place: only the text scenarios run on it (HOMESERVER=synapse tries again)"
  HOMESERVER=dendrite steps=5
  apt_step
  dendrite_step
fi
[ -n "$chosen" ] || echo "$HOMESERVER" >"$LOCKBRIDGE_CACHE/homeserver"
echo "$stamp" >"$LOCKBRIDGE_CACHE/stamp-$HOMESERVER"
echo "testbed: set up in $((SECONDS - begin)) s"
