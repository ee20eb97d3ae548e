//go:build e2e

package ircside

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// realServer is an InspIRCd of this test's own.
type realServer struct {
	plain, tls string // addresses
	cert       string // the file of its certificate
}

// server says what an InspIRCd shall be like.
type server struct {
	old      bool // without capabilities
	strict   bool // with the flood control of InspIRCd's defaults, without fake lag: who floods is thrown out
	services bool // with Anope, so that SASL works
}

// modern are the modules of an InspIRCd that offers what we use.
const modern = "ssl_gnutls redirect spanningtree callerid sha256 services_account sasl cap ircv3 ircv3_batch ircv3_capnotify ircv3_chghost ircv3_ctctags " +
	"ircv3_echomessage ircv3_labeledresponse ircv3_msgid ircv3_servertime namesx uhnames hidechans chghost blockcolor"

// startServer runs an InspIRCd until the test ends, and returns when it answers.
func startServer(t testing.TB, want server) realServer {
	t.Helper()
	dir := t.TempDir()
	host := ownHost()
	s := realServer{plain: net.JoinHostPort(host, "6667"), tls: net.JoinHostPort(host, "6697"), cert: filepath.Join(dir, "cert.pem")}
	key := filepath.Join(dir, "key.pem")
	writeCertificate(t, s.cert, key)
	flood := `threshold="1000000" commandrate="1000000" fakelag="no" recvq="64K"`
	if want.strict {
		flood = `threshold="10" commandrate="1000" fakelag="no" recvq="8K"`
	}
	conf := fmt.Sprintf(`<server name="irc.localhost" description="test" network="Test" id="1LB">
<admin name="n" nick="n" email="n@localhost">
<path configdir="%[1]s" datadir="%[1]s" logdir="%[1]s" runtimedir="%[1]s" moduledir="/usr/lib/inspircd/modules">
<pid file="%[1]s/inspircd.pid">
<connect name="main" allow="*" timeout="30" pingfreq="60" %[2]s hardsendq="1M" softsendq="256K" localmax="50" globalmax="50" resolvehostnames="no" useident="no" maxconnwarn="no">
<class name="all" commands="*" privs="*" usermodes="*" chanmodes="*">
<type name="NetAdmin" classes="all">
<options defaultmodes="not">
<security runasuser="" runasgroup="">
<limits maxnick="31" maxchan="64" maxline="512">
<bind address="%[3]s" port="6667" type="clients">
`, dir, flood, host)
	if !want.old {
		conf += fmt.Sprintf(`<bind address="%[1]s" port="6697" type="clients" sslprofile="x">
<sslprofile name="x" provider="gnutls" certfile="%[2]s" keyfile="%[3]s">
<bind address="%[1]s" port="7000" type="servers">
<link name="services.localhost" ipaddr="127.0.0.1" port="7000" allowmask="127.0.0.1" sendpass="secret" recvpass="secret">
<uline server="services.localhost" silent="yes">
<sasl target="services.localhost" requiressl="yes">
`, host, s.cert, key)
		for m := range strings.FieldsSeq(modern) {
			conf += fmt.Sprintf("<module name=%q>\n", m)
		}
	}
	file := filepath.Join(dir, "inspircd.conf")
	write(t, file, conf)
	args := []string{"--nofork", "--config", file}
	if os.Getuid() == 0 {
		args = append(args, "--runasroot")
	}
	run(t, dir, "inspircd", args...)
	awaitServer(t, s.plain)
	if want.services {
		startServices(t, host)
		awaitSASL(t, s.tls)
	}
	return s
}

// startServices runs an Anope with the account lockbridge, password pw.
func startServices(t testing.TB, host string) {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"db", "logs"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "motd"), "")
	write(t, filepath.Join(dir, "db", "anope.db"), fmt.Sprintf(
		"OBJECT NickCore\nDATA display lockbridge\nDATA pass plain:%s\nEND\nOBJECT NickAlias\nDATA nick lockbridge\nDATA nc lockbridge\nDATA time_registered 1700000000\nDATA last_seen 1700000000\nEND\n",
		base64.StdEncoding.EncodeToString([]byte("pw"))))
	conf := fmt.Sprintf(`uplink { host = "%s"; ipv6 = no; ssl = no; port = 7000; password = "secret" }
serverinfo { name = "services.localhost"; description = "Services"; pid = "%[2]s/anope.pid"; motd = "%[2]s/motd" }
networkinfo { networkname = "Test"; nicklen = 31; userlen = 10; hostlen = 64; chanlen = 64; modelistsize = 100;
  vhost_chars = "abcdefghijklmnopqrstuvwxyz0123456789.-"; allow_undotted_vhosts = yes }
options { casemap = "rfc1459"; readtimeout = 5s; warningtimeout = 4h; timeoutcheck = 3s; retrywait = 1s; updatetimeout = 5m; expiretimeout = 1d }
log { target = "services.log"; servers = "*" }
service { nick = "NickServ"; user = "services"; host = "services.localhost"; gecos = "Accounts" }
module { name = "nickserv"; client = "NickServ"; forceemail = no; nonicknameownership = yes; passlen = 64; expire = 0 }
command { service = "NickServ"; name = "IDENTIFY"; command = "nickserv/identify" }
module { name = "db_flatfile"; database = "anope.db"; keepbackups = 0; fork = no }
module { name = "inspircd3" }
module { name = "enc_none" }
module { name = "ns_identify" }
module { name = "m_sasl" }
`, host, dir)
	write(t, filepath.Join(dir, "services.conf"), conf)
	run(t, dir, "anope", "--nofork", "--confdir="+dir, "--dbdir="+dir+"/db", "--logdir="+dir+"/logs", "--modulesdir=/usr/lib/anope", "--localedir=/usr/share/locale")
}

// run starts a daemon in dir and ends it with the test. Its output is shown when the test fails.
func run(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	path := name
	for _, sbin := range []string{"/usr/sbin/", "/sbin/"} {
		if _, err := os.Stat(sbin + name); err == nil {
			path = sbin + name
		}
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path, args...)
	cmd.Dir, cmd.Args[0] = dir, name // Anope looks for its folder in how it was called
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, out.String())
		}
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// poll tries until it works.
func poll(t testing.TB, what string, try func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func awaitServer(t testing.TB, address string) {
	t.Helper()
	poll(t, "connect to InspIRCd", func() error {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// awaitSASL waits until the services are linked: only then is SASL offered.
func awaitSASL(t testing.TB, address string) {
	t.Helper()
	poll(t, "find SASL", func() error {
		conn, err := dialTLS(t, address)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, "CAP LS 302\r\n"); err != nil {
			return err
		}
		answer := make([]byte, 4096)
		for read := ""; ; {
			n, err := conn.Read(answer)
			if read += string(answer[:n]); strings.Contains(read, " sasl") {
				return nil
			}
			if err != nil || strings.Contains(read, "CAP * LS :") && strings.HasSuffix(read, "\n") {
				return fmt.Errorf("not offered: %q, %w", read, err)
			}
		}
	})
}

// ownHost is a loopback address of a server's own, on which every port is free: a port that was free on 127.0.0.1 a moment
// ago may be somebody else's by the time the server asks for it.
func ownHost() string {
	var b [3]byte
	_, _ = rand.Read(b[:])
	return net.IPv4(127, 1|b[0], b[1], 1|b[2]).String()
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeCertificate makes a certificate for 127.0.0.1 that vouches for itself.
func writeCertificate(t testing.TB, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "irc.localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}
