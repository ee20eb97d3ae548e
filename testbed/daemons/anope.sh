# Anope: the services of the IRC network, so that SASL PLAIN works. Its accounts, one for each slot, are written into its database
# before each start: nick of the slot, password pw-NICK.

anope_config() {
  local dir=$TESTBED_DIR/anope m
  cat <<C
uplink { host = "$TESTBED_IP"; ipv6 = no; ssl = no; port = $PORT_IRC_LINK; password = "$IRC_LINK_SECRET" }
serverinfo { name = "services.$TESTBED_HOST"; description = "Services"; pid = "$dir/anope.pid"; motd = "$dir/motd" }
networkinfo { networkname = "Testbed"; nicklen = 31; userlen = 10; hostlen = 64; chanlen = 64; modelistsize = 100;
  vhost_chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"; allow_undotted_vhosts = yes }
options { casemap = "rfc1459"; readtimeout = 5s; warningtimeout = 4h; timeoutcheck = 3s; retrywait = 1s; updatetimeout = 1d; expiretimeout = 1d }
log { target = "services.log"; servers = "*"; other = "*" }
service { nick = "NickServ"; user = "services"; host = "services.$TESTBED_HOST"; gecos = "Accounts" }
module { name = "nickserv"; client = "NickServ"; forceemail = no; nonicknameownership = yes; passlen = 64; expire = 0 }
module { name = "ns_register"; registration = "none" }
command { service = "NickServ"; name = "REGISTER"; command = "nickserv/register" }
command { service = "NickServ"; name = "IDENTIFY"; command = "nickserv/identify" }
module { name = "db_flatfile"; database = "anope.db"; keepbackups = 0; nobackupokay = yes; fork = no }
C
  for m in inspircd3 enc_none ns_identify m_sasl; do echo "module { name = \"$m\" }"; done
}

anope_accounts() {
  local n nick
  for ((n = 1; n <= TESTBED_SLOTS; n++)); do
    nick=$(nick_of $n)
    printf 'OBJECT NickCore\nDATA display %s\nDATA pass plain:%s\nEND\n' "$nick" "$(printf 'pw-%s' "$nick" | base64)"
    printf 'OBJECT NickAlias\nDATA nick %s\nDATA nc %s\nDATA time_registered 1700000000\nDATA last_seen 1700000000\nEND\n' "$nick" "$nick"
  done
}

nick_of() { if [ "$1" = 1 ]; then echo lockbridge; else echo "lockbridge$1"; fi; }

anope_linked() { grep -qs "services.$TESTBED_HOST .* is done syncing" "$TESTBED_DIR/log/anope.log"; }

start_anope() {
  local dir=$TESTBED_DIR/anope
  mkdir -p "$dir/db/backups" "$dir/logs"
  anope_config >"$dir/services.conf"
  : >"$dir/motd"
  if current anope "$dir/services.conf" "$TESTBED_DIR/inspircd/inspircd.conf"; then return; fi
  anope_accounts >"$dir/db/anope.db"
  rm -f "$dir"/logs/*
  own "$dir"
  : >"$TESTBED_DIR/log/anope.log"
  spawn anope anope --nofork --confdir="$dir" --dbdir="$dir/db" --logdir="$dir/logs" --modulesdir=/usr/lib/anope --localedir=/usr/share/locale
  await anope anope_linked
}
