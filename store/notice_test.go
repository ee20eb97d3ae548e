package store_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

// heard runs the store in the background, and counts on that commands wake network x much sooner than the polls would.
func (l *ledger) heard(commands ...func()) {
	l.Helper()
	const rounds, poll = 6, 5 * time.Second
	ctx, stop := context.WithCancel(l.Context())
	var running errgroup.Group
	defer func() { must(l, running.Wait()) }()
	defer stop()
	wake := l.Wake("x")
	running.Go(func() error { return l.Store.Run(ctx) })
	<-wake // the first poll
	began := time.Now()
	for range rounds {
		for _, command := range commands {
			command()
			<-wake
		}
	}
	if took := time.Since(began); took > time.Duration(rounds*len(commands))*poll/2 {
		l.Errorf("%d commands were heard after %v", rounds*len(commands), took)
	}
}

func TestCommandsAreHeardAtOnce(t *testing.T) {
	eachLedger(t, func(l *ledger) {
		must(l, l.State("x").PutMany(l.Context(), map[string][]byte{"k": []byte("v")}))
		write(l, l.Store, "x", entry(l, "x", "1", "words", one))
		l.heard(func() {
			_, err := l.beside.Forget(l.Context(), gateway.Person{Network: "y", ID: "nobody"})
			must(l, err)
		}, func() {
			l.retry(1, l.giveUp(one))
		})
	})
}

// A process that was killed has left its socket, or something else lies there.
func TestCommandsAreHeardWhateverWasLeft(t *testing.T) {
	url := storetest.Databases()[0].Make(t)
	name := strings.TrimPrefix(url, "sqlite:") + ".wake"
	must(t, os.WriteFile(name, []byte("left"), 0o600))
	l := &ledger{T: t, Store: open(t, store.Config{URL: url}), beside: openBeside(t, url)}
	must(t, l.State("x").PutMany(t.Context(), map[string][]byte{"k": []byte("v")}))
	forget := func() {
		_, err := l.beside.Forget(t.Context(), gateway.Person{Network: "y", ID: "nobody"})
		must(t, err)
	}
	forget() // nobody hears it
	l.heard(forget)
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}
