# InspIRCd 3 with a plain and a TLS port; Anope beside it answers SASL.
: "${IRC_LINK_SECRET:=link-secret}"

inspircd_config() {
  local dir=$TESTBED_DIR/inspircd m
  cat <<C
<server name="irc.$TESTBED_HOST" description="Lockbridge test bed" network="Testbed" id="1LB">
<admin name="nobody" nick="nobody" email="nobody@$TESTBED_HOST">
<path configdir="$dir" datadir="$dir" logdir="$dir" runtimedir="$dir" moduledir="/usr/lib/inspircd/modules">
<pid file="$dir/inspircd.pid">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="$dir/inspircd.log">
<bind address="$TESTBED_IP" port="$PORT_IRC" type="clients">
<bind address="$TESTBED_IP" port="$PORT_IRC_TLS" type="clients" sslprofile="bed">
<bind address="$TESTBED_IP" port="$PORT_IRC_LINK" type="servers">
<sslprofile name="bed" provider="gnutls" certfile="$TESTBED_DIR/tls/cert.pem" keyfile="$TESTBED_DIR/tls/key.pem">
<link name="services.$TESTBED_HOST" ipaddr="$TESTBED_IP" port="$PORT_IRC_LINK" allowmask="$TESTBED_IP" sendpass="$IRC_LINK_SECRET" recvpass="$IRC_LINK_SECRET">
<uline server="services.$TESTBED_HOST" silent="yes">
<sasl target="services.$TESTBED_HOST" requiressl="no">
<connect name="main" allow="*" timeout="30" pingfreq="60" threshold="1000" commandrate="1000000" fakelag="no"
  hardsendq="1M" softsendq="256K" recvq="64K" localmax="500" globalmax="500" resolvehostnames="no" useident="no" maxchans="200" maxconnwarn="no">
<class name="all" commands="*" privs="*" usermodes="*" chanmodes="*">
<type name="NetAdmin" classes="all">
<oper name="oper" password="pw-oper" host="*@*" type="NetAdmin">
<options prefixquit="" defaultmodes="not">
<performance softlimit="1000" quietbursts="yes" netbuffersize="10240" somaxconn="128">
<security maxtargets="20" runasuser="" runasgroup="">
<limits maxnick="31" maxchan="64" maxline="512" maxtopic="307" maxkick="255" maxgecos="128" maxaway="200">
<ctctags allowclientonlytags="yes">
C
  for m in ssl_gnutls spanningtree hidechans sha256 services_account sasl cap ircv3 ircv3_accounttag ircv3_batch ircv3_capnotify ircv3_chghost ircv3_ctctags \
    ircv3_echomessage ircv3_invitenotify ircv3_labeledresponse ircv3_msgid ircv3_servertime namesx uhnames monitor setname botmode chghost; do
    echo "<module name=\"$m\">"
  done
}

start_inspircd() {
  local dir=$TESTBED_DIR/inspircd
  mkdir -p "$dir"
  inspircd_config >"$dir/inspircd.conf"
  own "$dir"
  if current inspircd "$dir/inspircd.conf"; then return; fi
  free_port inspircd "$PORT_IRC" "$PORT_IRC_TLS"
  spawn inspircd inspircd --nofork --config "$dir/inspircd.conf"
  await inspircd open_port "$PORT_IRC"
}
