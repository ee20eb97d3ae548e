package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
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
}

// gatewayCommand is the scripts' command "gateway start", with a gateway that has met some people, and "gateway stop".
func gatewayCommand(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] == "stop" {
		r := ts.Value(running{}).(*running)
		ts.Check(r.store.Close())
		r.store = nil
		return
	}
	key, err := base64.StdEncoding.DecodeString(scriptKey)
	ts.Check(err)
	s, err := store.Open(context.Background(), store.Config{URL: "sqlite:" + ts.MkAbs("lockbridge.db"), Key: key})
	ts.Check(err)
	r := ts.Value(running{}).(*running)
	*r = running{ts: ts, store: s, state: s.State("xmpp")}
	r.omemo = omemo.NewManager(r.state, omemo.Options{})
	ts.Defer(func() {
		if r.store != nil {
			ts.Check(r.store.Close())
		}
	})
	r.meet()
}

// meet puts in place what a gateway keeps of people; what is there already stays.
func (r *running) meet() {
	ctx := context.Background()
	r.puppet("alice\\3aexample.org%matrix@bridge.example.org", gateway.Person{Network: "matrix", ID: "@alice:example.org", Name: "Alice"})
	r.puppet("nick%libera@bridge.example.org", gateway.Person{Network: "libera", ID: "nick", Name: "nick"})
	r.puppet("nick%oftc@bridge.example.org", gateway.Person{Network: "oftc", ID: "nick", Name: "nick\x1b[2J"})
	r.ts.Check(r.state.Update(ctx, func(ctx context.Context) error {
		for _, own := range []string{"lockbridge@bridge.example.org", "alice\\3aexample.org%matrix@bridge.example.org"} {
			if _, err := r.omemo.EnsureDevice(ctx, own); err != nil {
				return err
			}
		}
		return nil
	}))
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
