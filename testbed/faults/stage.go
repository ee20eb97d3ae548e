package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"lockbridge/testbed/peers"
)

// The two bridges of a stage.
const (
	Sealed = "sealed"
	Plain  = "plain"
)

// Stage is one gateway between real servers, with somebody on each network who is in both of its bridges.
type Stage struct {
	Bed    *peers.Bed
	Store  string // sqlite or postgres
	Ledger *Ledger
	Pulse  *Pulse
	// Processes are the gateway: one, or two on Postgres of which one stands by. None is started by NewStage.
	Processes []*peers.Lockbridge
	// Lines are the ways between the gateway and XMPP, IRC, Matrix (both directions), and the database.
	ToXMPP, ToIRC, ToMatrix, FromMatrix, ToPostgres *Line
	Transactions                                    *Transactions
	Dir                                             string

	host     string // see ownHost
	slot     *peers.Slot
	speakers map[Network]speaker
	irc      *ircPerson
	xmpp     *xmppPerson
	matrix   *matrixPerson
	listen   context.CancelFunc
	done     sync.WaitGroup
	closers  []func()
}

// Options say what kind of stage.
type Options struct {
	Binary    string
	Store     string // sqlite or postgres
	Dir       string
	Processes int // 0: one
}

// NewStage makes rooms, people, lines and a configuration.
func NewStage(ctx context.Context, b *peers.Bed, o Options) (*Stage, error) {
	s := &Stage{Bed: b, Store: o.Store, Ledger: NewLedger(), Pulse: &Pulse{moved: time.Now(), waiting: -1}, Dir: o.Dir, host: ownHost(), speakers: map[Network]speaker{}}
	if err := s.build(ctx, o); err != nil {
		s.Close()
		return nil, fmt.Errorf("setting the stage: %w", err)
	}
	for bridge := range s.irc.channels {
		s.Ledger.Left(bridge, time.Now())
	}
	listening, stop := context.WithCancel(context.Background())
	s.listen = stop
	for _, p := range s.speakers {
		s.done.Go(func() {
			p.(interface {
				listen(context.Context, *Ledger)
			}).listen(listening, s.Ledger)
		})
	}
	s.done.Go(func() { s.feel(listening) })
	return s, nil
}

func (s *Stage) build(ctx context.Context, o Options) error {
	var err error
	if s.slot, err = s.Bed.Slot(); err != nil {
		return err
	}
	s.atEnd(func() { s.slot.Release() })
	store := ""
	if o.Store == "postgres" {
		url, drop, err := s.Bed.Database(ctx)
		if err != nil {
			return err
		}
		s.atEnd(func() { drop() })
		store = url
	}
	setup := peers.Setup{Pace: 5 * time.Millisecond}
	if err := s.lay(&setup, store); err != nil {
		return err
	}
	rooms := map[string]map[Network]string{}
	for _, bridge := range []string{Sealed, Plain} {
		name := peers.Unique(bridge)
		rooms[bridge] = map[Network]string{XMPP: name + "@conference." + s.Bed.Host, Matrix: "#" + name + ":" + s.Bed.Host, IRC: "#" + name}
		encryption := map[string]string{Sealed: "required", Plain: "off"}[bridge]
		setup.Bridges = append(setup.Bridges, peers.Bridge{Name: bridge, Encryption: encryption,
			Rooms: map[string]string{"xmpp": rooms[bridge][XMPP], "matrix": rooms[bridge][Matrix], "irc": rooms[bridge][IRC]}})
	}
	if err := errors.Join(s.enterXMPP(ctx, rooms), s.enterMatrix(ctx, rooms), s.enterIRC(ctx, rooms)); err != nil {
		return err
	}
	first, err := peers.NewLockbridge(s.Bed, o.Binary, o.Dir, s.slot, setup)
	if err != nil {
		return err
	}
	s.Processes = append(s.Processes, first)
	if o.Processes == 2 {
		setup.Doors.HTTP = net.JoinHostPort(s.host, "8081")
		second, err := first.Second(s.Bed, setup)
		if err != nil {
			return err
		}
		s.Processes = append(s.Processes, second)
	}
	return nil
}

// lay opens the lines and enters them into the configuration.
func (s *Stage) lay(setup *peers.Setup, store string) (err error) {
	open := func(name, to string) *Line {
		if err != nil {
			return nil
		}
		var l *Line
		if l, err = newLine(name, s.host, to); err == nil {
			s.atEnd(l.Close)
		}
		return l
	}
	s.ToXMPP = open("the XMPP server", s.Bed.Addr("COMPONENT"))
	s.ToMatrix = open("the homeserver", s.Bed.Addr("MATRIX"))
	s.ToIRC = open("the IRC server", s.Bed.Addr("IRC"))
	own := net.JoinHostPort(s.host, "8080")
	if s.FromMatrix = open("the gateway", own); err != nil {
		return err
	}
	if s.Transactions, err = passTransactions(s.slot.Appservice, s.FromMatrix.Addr); err != nil {
		return err
	}
	s.atEnd(s.Transactions.Close)
	setup.Doors = peers.Doors{XMPP: s.ToXMPP.Addr, Matrix: s.ToMatrix.Addr, IRC: s.ToIRC.Addr, Appservice: own}
	if store == "" {
		return nil
	}
	at, err := url.Parse(store)
	if err != nil {
		return err
	}
	s.ToPostgres = open("Postgres", at.Host)
	if err == nil {
		at.Host = s.ToPostgres.Addr
		setup.Store = at.String()
	}
	return err
}
