package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // makes the databases
)

// Names of what is measured.
const (
	matterbridge = "matterbridge"
	onPostgres   = "postgres"
	onSQLite     = "sqlite"
	sealedPG     = "omemo_postgres"
	sealedSQLite = "omemo_sqlite"
	floorXMPP    = "floor_xmpp"
	floorIRC     = "floor_irc"
	floorSealed  = "floor_omemo" // stanzas as they are when sealed, which cost a server more
)

// subject is something that is measured: a bridge between a room and a channel of its own, or a server alone.
type subject struct {
	name     string
	out      *way // XMPP to IRC; of a server alone: its only way
	in       *way // IRC to XMPP; nil for a server alone
	pid      int
	store    int // the database server's process, if it has one
	paused   bool
	messages int // that it has carried
	cmd      *exec.Cmd
	peers    []*peer
}

func (s *subject) meter() usage {
	u := usage{cpu: cpuOf(s.pid), rss: rssOf(s.pid), waits: waitsOf(s.pid)}
	if s.store != 0 {
		for _, child := range childrenOf(s.store) {
			u.store += cpuOf(child)
		}
	}
	return u
}

// measure sends n messages one way, after a probe has crossed.
func (s *subject) measure(ctx context.Context, w *way, n, rate int) (result, error) {
	if s.paused {
		syscall.Kill(s.pid, syscall.SIGCONT)
		defer syscall.Kill(s.pid, syscall.SIGSTOP)
	}
	probing, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	if err := w.probe(probing); err != nil {
		return result{}, fmt.Errorf("%s: %w", s.name, err)
	}
	r, err := w.measure(ctx, n, rate, s.meter)
	if err != nil {
		return r, fmt.Errorf("%s: %w", s.name, err)
	}
	s.messages += n
	return r, nil
}

// end stops the bridge, by its process id, and its clients.
func (s *subject) end() {
	for _, p := range s.peers {
		p.close()
	}
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGCONT)
	s.cmd.Process.Signal(syscall.SIGTERM)
	stuck := time.AfterFunc(10*time.Second, func() { s.cmd.Process.Kill() })
	s.cmd.Wait()
	stuck.Stop()
}

// start runs a bridge with its output in a file.
func (s *subject) start(dir, binary string, args ...string) error {
	log, err := os.Create(filepath.Join(dir, s.name+".log"))
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	s.cmd = exec.Command(binary, args...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = dir, log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches it through us
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	s.pid = s.cmd.Process.Pid
	return nil
}

// join brings the clients of both sides.
func (s *subject) join(ctx context.Context, at servers) (*xmppPeer, *peer, error) {
	x, err := joinXMPP(ctx, at["c2s"], at["host"], "load-"+s.name, s.name)
	if err != nil {
		return nil, nil, err
	}
	s.peers = append(s.peers, x.peer)
	irc, err := joinIRC(ctx, at["irc"], "load_"+s.name, "#"+s.name)
	if err != nil {
		return nil, nil, err
	}
	s.peers = append(s.peers, irc)
	s.out, s.in = &way{from: x.peer, to: irc}, &way{from: irc, to: x.peer}
	return x, irc, nil
}

// newFloor is a server with two clients.
func newFloor(ctx context.Context, at servers, name string) (*subject, error) {
	s := &subject{name: name}
	var ends [2]*peer
	for i := range ends {
		var err error
		if name == floorIRC {
			ends[i], err = joinIRC(ctx, at["irc"], fmt.Sprintf("floor%d", i), "#floor")
		} else {
			var x *xmppPeer
			if x, err = joinXMPP(ctx, at["c2s"], at["host"], fmt.Sprintf("%s%d", name, i), "floor"); err == nil {
				ends[i] = x.peer
			}
		}
		if err != nil {
			s.end()
			return nil, err
		}
		s.peers = append(s.peers, ends[i])
	}
	s.pid = at.number("prosody")
	s.out = &way{from: ends[0], to: ends[1]}
	switch name {
	case floorIRC:
		s.pid = at.number("inspircd")
	case floorSealed:
		s.out.seal = func(text string) ([]byte, error) { return likeSealed("floor@conference."+at["host"], text), nil }
	}
	return s, nil
}

const matterbridgeConfig = `[xmpp.load]
Server=%q
Jid="bridge@%s"
Password="bridge"
Muc="conference.%[2]s"
Nick="bridge"
NoTLS=true
RemoteNickFormat="<{NICK}> "

[irc.load]
Server=%[3]q
Nick="bridge"
MessageDelay=1
MessageQueue=100000
RemoteNickFormat="<{NICK}> "

[[gateway]]
name="load"
enable=true
[[gateway.inout]]
account="irc.load"
channel="#%[4]s"
[[gateway.inout]]
account="xmpp.load"
channel=%[4]q
`

func newMatterbridge(ctx context.Context, at servers, c config) (*subject, error) {
	s := &subject{name: matterbridge}
	if _, _, err := s.join(ctx, at); err != nil {
		return s, err
	}
	// Its account is made by logging in once.
	account, err := joinXMPP(ctx, at["c2s"], at["host"], "bridge", "lobby")
	if err != nil {
		return s, err
	}
	account.close()
	file := filepath.Join(c.dir, "matterbridge.toml")
	text := fmt.Sprintf(matterbridgeConfig, at["c2s"], at["host"], at["irc"], s.name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return s, err
	}
	return s, s.start(c.dir, c.matterbridge, "-conf", file)
}

const ourConfig = `[store]
url = %q
key = "file:%s"
epoch = %q

[http]
listen = ""

[log]
level = "warn"

[network.xmpp]
kind = "xmpp"
component = %q
server = %q
secret = %q
nick = "lockbridge"

[network.irc]
kind = "irc"
server = %q
tls = false
nick = "lb%d"
pace = { burst = 10000, every = "1us" }

[[bridge]]
name = "load"
rooms = { xmpp = "%s@conference.%s", irc = "#%[9]s" }
encryption = %[11]q
%[12]s
puppets = %[13]q
`

// newOurs is Lockbridge with a store, in the test bed's slot of that number.
func newOurs(ctx context.Context, at servers, c config, name string, slot int) (*subject, error) {
	s := &subject{name: name}
	sealed := name == sealedPG || name == sealedSQLite
	dir := filepath.Join(c.dir, name)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return s, err
	}
	store := "sqlite:" + filepath.Join(dir, "lockbridge.db")
	if name == onPostgres || name == sealedPG {
		store, s.store = at["postgres"]+"/relay_"+name+"?sslmode=disable", at.number("postmaster")
		if err := makeDatabase(ctx, at["postgres"]+"/postgres?sslmode=disable", "relay_"+name); err != nil {
			return s, err
		}
	}
	key := make([]byte, 32)
	rand.Read(key)
	component, encryption, clear := "bridge."+at["host"], "off", ""
	if slot > 1 {
		component = fmt.Sprintf("bridge%d.%s", slot, at["host"])
	}
	if sealed {
		encryption, clear = "required", `clear = ["irc"]`
	}
	text := fmt.Sprintf(ourConfig, store, filepath.Join(dir, "key"), filepath.Join(dir, "epoch"), component, at["component"], at["secret"],
		at["irc"], slot, name, at["host"], encryption, clear, c.puppets)
	file := filepath.Join(dir, "lockbridge.toml")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "key"), []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600),
		os.WriteFile(file, []byte(text), 0o600)); err != nil {
		return s, err
	}
	x, irc, err := s.join(ctx, at)
	if err != nil {
		return s, err
	}
	gateway := "lockbridge@" + component
	var m *member
	if sealed {
		if err := x.closeRoom(ctx, gateway); err != nil {
			return s, err
		}
		if m, err = newMember(ctx, x); err != nil {
			return s, err
		}
	}
	if err := s.start(c.dir, c.lockbridge, "run", "--config", file); err != nil {
		return s, err
	}
	if sealed {
		s.out.seal, s.in.open = m.seal, m.open
		return s, m.meet(ctx, irc, gateway)
	}
	return s, nil
}

func makeDatabase(ctx context.Context, url, name string) error {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + name, "CREATE DATABASE " + name} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}
