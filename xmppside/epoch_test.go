package xmppside

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

// outside is a gateway.Epoch in memory.
type outside struct {
	n   uint64
	bad error
}

func (o *outside) Load() (uint64, error) { return o.n, o.bad }

func (o *outside) Save(n uint64) error {
	o.n = n
	return nil
}

func TestARestoredDatabaseIsNoticed(t *testing.T) {
	for _, c := range []struct {
		name            string
		inside, outside uint64
		marked, renewed bool
	}{
		{"the first start", 0, 0, false, false},
		{"as it was left", 7, 7, false, false},
		{"stopped between the two", 8, 7, false, false},
		{"an old copy", 6, 7, false, true},
		{"a copy from before there were epochs", 0, 7, false, true},
		{"a copy on another machine", 7, 0, false, true},
		{"a backup of the same minute", 7, 7, true, true},
		{"a backup from before there were epochs", 0, 0, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			state, file := sidetest.NewState(), &outside{n: c.outside}
			s, err := New(Config{Component: "bridge.test", Nick: "lockbridge"}, gateway.Deps{
				Network: "xmpp", State: state, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Epoch: file,
			})
			must(t, err)
			bundle := func() (b *omemo.Bundle) {
				t.Helper()
				must(t, state.Update(ctx, func(ctx context.Context) error {
					if _, err := s.omemo.EnsureDevice(ctx, s.self); err != nil {
						return err
					}
					var err error
					b, err = s.omemo.Bundle(ctx, omemo.Legacy, s.self)
					return err
				}))
				return b
			}
			before := bundle()
			if c.inside > 0 {
				must(t, state.PutMany(ctx, map[string][]byte{stateEpoch: strconv.AppendUint(nil, c.inside, 10)}))
			}
			if c.marked {
				must(t, state.PutMany(ctx, map[string][]byte{gateway.StateRestored: []byte("1")}))
			}
			must(t, s.checkEpoch(ctx))
			after := bundle()
			if after.Identity != before.Identity {
				t.Error("the identity changed")
			}
			if renewed := after.SignedPreKey != before.SignedPreKey && after.PreKeys[0] != before.PreKeys[0]; renewed != c.renewed {
				t.Errorf("renewed: %v, want %v", renewed, c.renewed)
			}
			got, err := state.GetMany(ctx, []string{stateEpoch, gateway.StateRestored})
			must(t, err)
			if got[gateway.StateRestored] != nil {
				t.Error("it would do so again")
			}
			want := max(c.inside, c.outside) + 1
			if file.n != want || string(got[stateEpoch]) != strconv.FormatUint(want, 10) {
				t.Errorf("raised to %d and %s, want %d", file.n, got[stateEpoch], want)
			}
		})
	}
}

func TestAnEpochThatCannotBeReadIsNoEpoch(t *testing.T) {
	damaged := errors.New("damaged")
	s, err := New(Config{Component: "bridge.test", Nick: "lockbridge"}, gateway.Deps{
		Network: "xmpp", State: sidetest.NewState(), Log: slog.New(slog.DiscardHandler), Epoch: &outside{bad: damaged},
	})
	must(t, err)
	if err := s.checkEpoch(t.Context()); !errors.Is(err, damaged) {
		t.Errorf("got %v", err)
	}
}

// TestARestoreIsNoticedWithoutAnEpoch: the mark alone is enough where no file is kept.
func TestARestoreIsNoticedWithoutAnEpoch(t *testing.T) {
	state := sidetest.NewState()
	must(t, state.PutMany(t.Context(), map[string][]byte{gateway.StateRestored: []byte("1")}))
	var log bytes.Buffer
	s, err := New(Config{Component: "bridge.test", Nick: "lockbridge"}, gateway.Deps{Network: "xmpp", State: state, Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	for range 2 {
		must(t, s.checkEpoch(t.Context()))
	}
	if n := strings.Count(log.String(), "all OMEMO sessions were dropped"); n != 1 {
		t.Errorf("sessions were dropped %d times", n)
	}
}
