package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"rsc.io/qr"

	"lockbridge/gateway"
	"lockbridge/omemo"
	"lockbridge/store"
)

// scriptKey is the store's key in scripts, as in oneKey.
const scriptKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// running is what of a gateway the commands work beside: an open store, and what it keeps in there.
type running struct {
	ts    *testscript.TestScript
	store *store.Store
	state gateway.State
	omemo *omemo.Manager
	peers map[string]*peer
}

// peer is somebody's device.
type peer struct {
	omemo  *omemo.Manager
	device omemo.Device
}

// memory is a peer's omemo.Store.
type memory map[string][]byte

func (m memory) GetMany(_ context.Context, keys []string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, key := range keys {
		if value, ok := m[key]; ok {
			out[key] = value
		}
	}
	return out, nil
}

func (m memory) PutMany(_ context.Context, values map[string][]byte) error {
	maps.Copy(m, values)
	maps.DeleteFunc(m, func(_ string, v []byte) bool { return v == nil })
	return nil
}

func (m memory) List(_ context.Context, prefix string) (map[string][]byte, error) {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(key string, _ []byte) bool { return !strings.HasPrefix(key, prefix) })
	return out, nil
}

const (
	selfJID  = "lockbridge@bridge.example.org"
	aliceJID = "alice\\3aexample.org%matrix@bridge.example.org"
)

// gatewayCommand is the scripts' command "gateway":
//
//	gateway start            one that has met some people; the fingerprint of juliet's device is in $juliet, and so on
//	gateway hear WHO TRUST   it opens a message of WHO's device, which it trusts so
//	gateway stop
func gatewayCommand(ts *testscript.TestScript, _ bool, args []string) {
	r := ts.Value("gateway").(*running)
	switch args[0] {
	case "start":
		r.start(ts)
	case "hear":
		if got := r.hear(args[1], selfJID); got != args[2] {
			ts.Fatalf("what %s says is %s, want %s", args[1], got, args[2])
		}
	case "stop":
		ts.Check(r.store.Close())
		r.store = nil
	}
}

func (r *running) start(ts *testscript.TestScript) {
	key, err := base64.StdEncoding.DecodeString(scriptKey)
	ts.Check(err)
	s, err := store.Open(context.Background(), store.Config{URL: "sqlite:" + ts.MkAbs("lockbridge.db"), Key: key})
	ts.Check(err)
	*r = running{ts: ts, store: s, state: s.State("xmpp"), peers: map[string]*peer{}}
	r.omemo = omemo.NewManager(r.state, omemo.Options{})
	ts.Defer(func() {
		if r.store != nil {
			ts.Check(r.store.Close())
		}
	})
	r.puppet(aliceJID, gateway.Person{Network: "matrix", ID: "@alice:example.org", Name: "Alice"})
	r.puppet("nick%libera@bridge.example.org", gateway.Person{Network: "libera", ID: "nick", Name: "nick"})
	r.puppet("nick%oftc@bridge.example.org", gateway.Person{Network: "oftc", ID: "nick", Name: "nick\x1b[2J"})
	for name, jid := range map[string]string{"juliet": "juliet@example.org", "phone": "juliet@example.org", "romeo": "romeo@example.org", "stranger": "tybalt@example.org"} {
		p := &peer{omemo: omemo.NewManager(memory{}, omemo.Options{})}
		p.device, err = p.omemo.EnsureDevice(context.Background(), jid)
		ts.Check(err)
		r.peers[name] = p
		ts.Setenv(name, strings.ReplaceAll(p.device.Identity.Fingerprint(), " ", ""))
		ts.Setenv(name+"_device", strconv.FormatUint(uint64(p.device.ID), 10))
	}
	r.update(func(ctx context.Context) {
		for _, own := range []string{selfJID, aliceJID} {
			_, err := r.omemo.EnsureDevice(ctx, own)
			ts.Check(err)
		}
	})
	r.hear("juliet", selfJID)
	r.hear("juliet", aliceJID)
	r.hear("romeo", selfJID)
}

// update runs fn in a transaction of the gateway.
func (r *running) update(fn func(ctx context.Context)) {
	r.ts.Check(r.state.Update(context.Background(), func(ctx context.Context) error {
		fn(ctx)
		return nil
	}))
}

// hear has a peer seal a message for an address of ours, and opens it there.
func (r *running) hear(name, own string) (trust string) {
	p := r.peers[name]
	r.update(func(ctx context.Context) {
		bundle, err := r.omemo.Bundle(ctx, omemo.Legacy, own)
		r.ts.Check(err)
		device, err := r.omemo.EnsureDevice(ctx, own)
		r.ts.Check(err)
		to := omemo.Address{JID: own, Device: device.ID}
		msg, _, err := p.omemo.Seal(ctx, omemo.Legacy, p.device.JID, []omemo.Address{to}, map[omemo.Address]*omemo.Bundle{to: bundle}, []byte("hello"))
		r.ts.Check(err)
		if msg, err = omemo.ParseMessage(omemo.Legacy, msg.AppendXML(nil), to); err != nil {
			r.ts.Check(err)
		}
		opened, err := r.omemo.Open(ctx, own, []string{p.device.JID}, msg)
		r.ts.Check(err)
		trust = opened.Trust.String()
	})
	return trust
}

func (r *running) puppet(jid string, person gateway.Person) {
	value, err := json.Marshal(map[string]any{"jid": jid, "person": person})
	r.ts.Check(err)
	r.ts.Check(r.state.PutMany(context.Background(), map[string][]byte{"puppet/" + person.Network + "/" + person.ID: value}))
}

func TestQR(t *testing.T) {
	const text = "xmpp:lockbridge@bridge.example.org?omemo-sid-123456789=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	for _, colours := range []bool{false, true} {
		var b bytes.Buffer
		if err := printQR(&b, text, colours); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != (code.Size+2*quiet+1)/2 {
			t.Fatalf("%d lines for %d modules", len(lines), code.Size)
		}
		for i, line := range lines {
			if colours {
				var framed bool
				if line, framed = strings.CutPrefix(line, "\x1b[30;107m"); !framed || !strings.HasSuffix(line, "\x1b[0m") {
					t.Fatalf("line %d has no colours", i)
				}
				line = strings.TrimSuffix(line, "\x1b[0m")
			}
			for x, r := range []rune(line) {
				upper, lower := code.Black(x-quiet, 2*i-quiet), code.Black(x-quiet, 2*i+1-quiet)
				if want := map[[2]bool]rune{{true, true}: '█', {true, false}: '▀', {false, true}: '▄', {false, false}: ' '}[[2]bool{upper, lower}]; r != want {
					t.Fatalf("line %d, column %d: %c, want %c", i, x, r, want)
				}
			}
		}
	}
	if err := printQR(&bytes.Buffer{}, strings.Repeat("x", 4000), false); err == nil {
		t.Error("a text that fits into no code was drawn")
	}
	if err := printQR(full{}, text, false); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
}

var errFull = errors.New("no space left")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
