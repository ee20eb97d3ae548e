package peers

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Bed is the running test bed: its addresses and what can be made in it.
type Bed struct {
	Dir        string // data, logs and pid files of the daemons
	Source     string // the repository's testbed folder
	Host       string // XMPP domain and Matrix server name
	IP         string
	Homeserver string // synapse or dendrite

	values map[string]string
}

// Start installs what is missing and starts what is not running (setup.sh and up.sh); their progress goes to w.
func Start(ctx context.Context, w io.Writer) (*Bed, error) {
	source, err := sourceFolder()
	if err != nil {
		return nil, err
	}
	for _, script := range []string{"setup.sh", "up.sh"} {
		cmd := exec.CommandContext(ctx, filepath.Join(source, script))
		cmd.Stdout, cmd.Stderr = w, w
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("testbed/%s: %w", script, err)
		}
	}
	return Open()
}

// Open finds the bed that up.sh started with the same environment.
func Open() (*Bed, error) {
	source, err := sourceFolder()
	if err != nil {
		return nil, err
	}
	dir := os.Getenv("TESTBED_DIR")
	if dir == "" {
		base := os.Getenv("TESTBED_PORT_BASE")
		if base == "" {
			base = "25000"
		}
		dir = fmt.Sprintf("/var/tmp/lockbridge-testbed-%d-%s", os.Getuid(), base)
	}
	text, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		return nil, fmt.Errorf("the test bed is not up (testbed/up.sh starts it): %w", err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = value
	}
	return &Bed{Dir: dir, Source: source, Host: values["HOST"], IP: values["IP"], Homeserver: values["HOMESERVER"], values: values}, nil
}

// sourceFolder is the testbed folder of the module that the working directory lies in.
func sourceFolder() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "testbed", "up.sh")); err == nil {
			return filepath.Join(dir, "testbed"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working directory is not inside the repository")
		}
		dir = parent
	}
}

// Addr is host:port of one of the bed's doors, by its name in the env file: C2S, COMPONENT, MATRIX, IRC, IRC_TLS, POSTGRES.
func (b *Bed) Addr(door string) string { return net.JoinHostPort(b.IP, b.values[door+"_PORT"]) }

// Split is Addr in its two parts.
func (b *Bed) Split(door string) (host, port string) { return b.IP, b.values[door+"_PORT"] }

// Up says whether the bed is running, not only was once.
func (b *Bed) Up(ctx context.Context) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", b.Addr("C2S"))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func (b *Bed) port(door string) int {
	n, _ := strconv.Atoi(b.values[door+"_PORT"])
	return n
}

// HomeserverURL is the base of Matrix's client-server API.
func (b *Bed) HomeserverURL() string { return "http://" + b.Addr("MATRIX") }

// Certificate is the file with the self-signed certificate of all TLS doors.
func (b *Bed) Certificate() string { return b.values["CERTIFICATE"] }

// Root is the repository.
func (b *Bed) Root() string { return filepath.Dir(b.Source) }

// Unique makes a name that no other scenario has used, so that rooms and accounts of different runs never meet.
func Unique(prefix string) string {
	var r [4]byte
	rand.Read(r[:])
	return prefix + "-" + hex.EncodeToString(r[:])
}

// XMPPAccount registers name@domain by XEP-0077 and returns its password.
func (b *Bed) XMPPAccount(ctx context.Context, name, domain string) (password string, err error) {
	password = "pw-" + name
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", b.Addr("C2S"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	fmt.Fprintf(conn, `<stream:stream to='%s' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`+
		`<iq type='set' id='register'><query xmlns='jabber:iq:register'><username>%s</username><password>%s</password></query></iq>`, domain, name, password)
	stream := xml.NewDecoder(conn)
	for {
		token, err := stream.Token()
		if err != nil {
			return "", fmt.Errorf("registering %s@%s: %w", name, domain, err)
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "iq" {
			continue
		}
		for _, a := range start.Attr {
			if a.Name.Local == "type" && a.Value != "result" {
				return "", fmt.Errorf("registering %s@%s: the server refused it", name, domain)
			}
		}
		return password, nil
	}
}

// MatrixAccount registers @name and returns its password.
func (b *Bed) MatrixAccount(ctx context.Context, name string) (password string, err error) {
	password = "pw-" + name
	m := &Matrix{base: b.HomeserverURL(), client: http.DefaultClient}
	err = m.call(ctx, "POST", "/_matrix/client/v3/register", map[string]any{
		"username": name, "password": password, "inhibit_login": true, "auth": map[string]string{"type": "m.login.dummy"}}, nil)
	return password, err
}

// Stop ends a daemon of the bed, by its name in daemons/, with a signal (TERM, KILL, ...); it returns when it has ended.
func (b *Bed) Stop(ctx context.Context, daemon, signal string) error {
	return b.script(ctx, "daemon.sh", "stop", daemon, signal)
}

// Resume starts a daemon again; it returns when it answers.
func (b *Bed) Resume(ctx context.Context, daemon string) error {
	return b.script(ctx, "daemon.sh", "start", daemon)
}

func (b *Bed) script(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, filepath.Join(b.Source, name), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("testbed/%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// Database makes an empty Postgres database and returns its URL and what drops it again.
func (b *Bed) Database(ctx context.Context) (url string, drop func() error, err error) {
	name := strings.ReplaceAll(Unique("e2e"), "-", "_")
	if err := b.psql(ctx, "create database "+name); err != nil {
		return "", nil, err
	}
	drop = func() error { return b.psql(context.WithoutCancel(ctx), "drop database "+name+" with (force)") }
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", b.Addr("POSTGRES"), name), drop, nil
}

func (b *Bed) psql(ctx context.Context, statement string) error {
	cmd := exec.CommandContext(ctx, b.values["PSQL"], "-qAt", "-h", b.IP, "-p", b.values["POSTGRES_PORT"], "-U", "postgres", "-c", statement)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", statement, err, bytes.TrimSpace(out))
	}
	return nil
}
