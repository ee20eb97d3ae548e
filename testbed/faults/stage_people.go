package faults

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"time"

	"lockbridge/testbed/peers"
)

func (s *Stage) atEnd(end func()) { s.closers = append(s.closers, end) }

func (s *Stage) places() (all []Place) {
	for _, n := range networks {
		all = append(all, Place{n, Sealed}, Place{n, Plain})
	}
	return all
}

func (s *Stage) enterXMPP(ctx context.Context, rooms map[string]map[Network]string) error {
	name := peers.Unique("juliet")
	password, err := s.Bed.XMPPAccount(ctx, name, s.Bed.Host)
	if err != nil {
		return err
	}
	p := &xmppPerson{rooms: map[string]string{}}
	p.client, err = peers.StartXMPP(ctx, s.Bed, peers.XMPPOptions{JID: name + "@" + s.Bed.Host, Password: password, OMEMO: peers.Legacy})
	if err != nil {
		return err
	}
	s.atEnd(func() { p.client.Close() })
	for bridge, room := range rooms {
		p.rooms[bridge] = room[XMPP]
		if err := p.client.CreateRoom(ctx, room[XMPP], "Juliet", bridge == Sealed); err != nil {
			return err
		}
		if err := p.client.Affiliate(ctx, room[XMPP], s.slot.JID(), "admin"); err != nil {
			return err
		}
		if err := p.client.Keep(ctx, room[XMPP]); err != nil {
			return err
		}
	}
	s.xmpp, s.speakers[XMPP] = p, p
	return nil
}

func (s *Stage) enterMatrix(ctx context.Context, rooms map[string]map[Network]string) error {
	name := peers.Unique("montague")
	password, err := s.Bed.MatrixAccount(ctx, name)
	if err != nil {
		return err
	}
	p := &matrixPerson{rooms: map[string]string{}}
	if p.user, err = peers.LoginMatrix(ctx, s.Bed, name, password, nil); err != nil {
		return err
	}
	p.user.Keep()
	s.atEnd(p.user.Close)
	for bridge, room := range rooms {
		alias := room[Matrix][1 : len(room[Matrix])-len(s.Bed.Host)-1]
		if p.rooms[bridge], err = p.user.CreateRoom(ctx, alias, true); err != nil {
			return err
		}
	}
	s.matrix, s.speakers[Matrix] = p, p
	return nil
}

func (s *Stage) enterIRC(ctx context.Context, rooms map[string]map[Network]string) error {
	p := &ircPerson{bed: s.Bed, nick: peers.Unique("mercutio"), relay: s.slot.Nick, channels: map[string]string{}, changed: make(chan struct{}), present: map[string]map[string]bool{}}
	for bridge, room := range rooms {
		p.channels[bridge] = room[IRC]
	}
	if err := p.connect(ctx); err != nil {
		return err
	}
	s.irc, s.speakers[IRC] = p, p
	return nil
}

// Start starts the gateway and has everybody say a first word, so that puppets, ghosts and sessions are there before anything is
// counted. With two processes the second is started after the first has everything.
func (s *Stage) Start(ctx context.Context) error {
	if err := s.Processes[0].StartReady(ctx); err != nil {
		return err
	}
	if err := s.awaitGateway(ctx); err != nil {
		return fmt.Errorf("%w; the gateway's log:\n%s", err, s.LogTail())
	}
	for _, at := range s.places() {
		if _, err := s.speakers[at.Network].say(ctx, at.Bridge, hello(at)); err != nil {
			return err
		}
	}
	if err := s.Ledger.await(ctx, func() bool { return len(s.Ledger.greeted) == 2*len(s.places()) }); err != nil {
		return fmt.Errorf("the first words have not all arrived: %w; the gateway's log:\n%s", err, s.LogTail())
	}
	for _, second := range s.Processes[1:] {
		if err := second.Start(); err != nil {
			return err
		}
	}
	return nil
}

// awaitGateway returns when the gateway is in all rooms.
func (s *Stage) awaitGateway(ctx context.Context) error {
	for _, room := range s.xmpp.rooms {
		if _, err := s.xmpp.client.AwaitOccupant(ctx, room, s.slot.JID()); err != nil {
			return err
		}
	}
	for _, room := range s.matrix.rooms {
		_, err := s.matrix.user.Await(ctx, "the gateway in "+room, func(e peers.MatrixEvent) bool {
			return e.Room == room && e.Type == "m.room.member" && e.Content["membership"] == "join" && *e.StateKey == "@"+s.slot.Nick+":"+s.Bed.Host
		})
		if err != nil {
			return err
		}
	}
	return s.Ledger.AwaitInChannels(ctx)
}

// Kill ends a process as a crash would.
func (s *Stage) Kill(process *peers.Lockbridge) error {
	s.Ledger.Broke()
	return process.Kill()
}

// CutOffIRC notes that from now on no line passes between the gateway and IRC.
func (s *Stage) CutOffIRC() {
	s.Ledger.Broke()
	s.irc.lost(s.Ledger)
}

// Lines are all ways.
func (s *Stage) Lines() []*Line {
	lines := []*Line{s.ToXMPP, s.ToIRC, s.ToMatrix, s.FromMatrix}
	if s.ToPostgres != nil {
		lines = append(lines, s.ToPostgres)
	}
	return lines
}

// Active returns the process that has the networks, as soon as just one says so: another one may still have to notice that it lost them.
func (s *Stage) Active(ctx context.Context) (*peers.Lockbridge, error) {
	return s.ActiveBeside(ctx, nil)
}

// ActiveBeside is Active among the others than one.
func (s *Stage) ActiveBeside(ctx context.Context, than *peers.Lockbridge) (*peers.Lockbridge, error) {
	for {
		var active []*peers.Lockbridge
		for _, p := range s.Processes {
			if p == than || !p.Running() {
				continue
			}
			if status, _, err := p.Get(ctx, "/readyz/xmpp"); err == nil && status == http.StatusOK {
				active = append(active, p)
			}
		}
		if len(active) == 1 {
			return active[0], nil
		}
		if !rest(ctx, activePause) {
			return nil, fmt.Errorf("%d processes say that they have XMPP: %w", len(active), context.Cause(ctx))
		}
	}
}

// activePause lies between two questions who is active; there is no event of it outside the program.
const activePause = 20 * time.Millisecond

// Close ends everybody and the gateway; an error says that the gateway did not end as it should.
func (s *Stage) Close() error {
	var err error
	for _, p := range s.Processes {
		if p.Running() {
			if e := p.Stop(); e != nil && err == nil {
				err = e
			}
		}
	}
	if s.listen != nil {
		s.listen()
	}
	s.done.Wait()
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
	return err
}

// LogTail is the end of the gateway's log.
func (s *Stage) LogTail() string {
	text := ""
	for _, p := range s.Processes {
		text += fmt.Sprintf("%s:\n%s", p.Config, p.Log())
	}
	return text
}

// ownHost is a loopback address of a stage's own, on which every port is free: while a line is unplugged or a process away, nobody else
// can come to listen there.
func ownHost() string {
	var b [3]byte
	rand.Read(b[:])
	return net.IPv4(127, 1|b[0], b[1], 1|b[2]).String()
}
