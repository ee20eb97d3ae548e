package peers

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Scene is one conversation that Lockbridge is to carry: an XMPP room, a Matrix room and an IRC channel, with somebody in each, and a
// Lockbridge of its own. All names in it are fresh.
type Scene struct {
	Bed        *Bed
	Lockbridge *Lockbridge
	Transcript *Transcript

	Room    string // on XMPP; Owner made it
	Alias   string // of MatrixRoom
	Channel string

	MatrixRoom string
	Owner      *XMPPClient
	Matrix     *Matrix
	IRC        *IRC

	mu      sync.Mutex // several people may come in at once
	closers []func()
}

// atEnd has Close call a function, before those that were handed in earlier.
func (s *Scene) atEnd(end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, end)
}

// SceneOptions say what kind of conversation it is.
type SceneOptions struct {
	Binary  string        // of Lockbridge
	Dir     string        // for its files
	Sealed  bool          // a members-only, non-anonymous room whose bridge requires OMEMO; else a plain room
	Store   string        // see Setup
	Puppets string        // see Bridge
	SASL    bool          // see Setup
	OMEMO   []string      // see Setup
	Owners  []string      // OMEMO versions of the owner of a sealed room; none: Legacy
	IRC     string        // see Setup
	Media   string        // see Setup
	NoLinks bool          // see Setup
	Privacy string        // see Setup
	Bridge  string        // see Bridge.More
	Pace    time.Duration // see Setup
	Direct  bool          // everybody on the bed's host may have direct chats

	MaxPuppets int // see Bridge
}

// NewScene makes accounts and rooms, brings their people in and configures Lockbridge, which Start starts.
func NewScene(ctx context.Context, b *Bed, o SceneOptions) (*Scene, error) {
	s := &Scene{Bed: b, Transcript: &Transcript{}}
	if err := s.build(ctx, o); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Scene) build(ctx context.Context, o SceneOptions) error {
	slot, err := s.Bed.Slot()
	if err != nil {
		return err
	}
	s.atEnd(func() { slot.Release() })
	name := Unique("verona")
	s.Room = name + "@conference." + s.Bed.Host
	s.Alias = "#" + name + ":" + s.Bed.Host
	s.Channel = "#" + name
	bridge := Bridge{Name: "verona", Encryption: "off", Puppets: o.Puppets, MaxPuppets: o.MaxPuppets, More: o.Bridge, Rooms: map[string]string{"xmpp": s.Room, "matrix": s.Alias, "irc": s.Channel}}
	owner := XMPPOptions{Resource: "test"}
	if o.Sealed {
		bridge.Encryption, owner.OMEMO = "required", Legacy
		if o.Owners != nil {
			owner.OMEMO = o.Owners
		}
	}
	if s.Owner, err = s.XMPPMember(ctx, "juliet", owner); err != nil {
		return err
	}
	if err := s.Owner.CreateRoom(ctx, s.Room, "Juliet", o.Sealed); err != nil {
		return err
	}
	if err := s.Owner.Affiliate(ctx, s.Room, slot.JID(), "admin"); err != nil {
		return err
	}
	if s.Matrix, err = s.MatrixUser(ctx, "montague"); err != nil {
		return err
	}
	if s.MatrixRoom, err = s.Matrix.CreateRoom(ctx, name, true); err != nil {
		return err
	}
	if s.IRC, err = s.IRCUser(ctx, "mercutio", false); err != nil {
		return err
	}
	setup := Setup{Store: o.Store, SASL: o.SASL, OMEMO: o.OMEMO, Pace: o.Pace, IRC: o.IRC, Media: o.Media, NoLinks: o.NoLinks, Privacy: o.Privacy, Bridges: []Bridge{bridge}}
	if o.Direct {
		setup.Direct = []string{s.Bed.Host}
	}
	s.Lockbridge, err = NewLockbridge(s.Bed, o.Binary, o.Dir, slot, setup)
	return err
}

// XMPPMember makes an account and logs it in. JID and Password are filled in; a JID that is given is logged in again as another device.
func (s *Scene) XMPPMember(ctx context.Context, name string, o XMPPOptions) (*XMPPClient, error) {
	if o.JID == "" {
		name = Unique(name)
		password, err := s.Bed.XMPPAccount(ctx, name, s.Bed.Host)
		if err != nil {
			return nil, err
		}
		o.JID, o.Password = name+"@"+s.Bed.Host, password
	}
	o.Transcript = s.Transcript
	c, err := StartXMPP(ctx, s.Bed, o)
	if err == nil {
		s.atEnd(func() { c.Close() })
	}
	return c, err
}

// SecondDevice logs a member in once more, with keys of its own in the same versions.
func (s *Scene) SecondDevice(ctx context.Context, of *XMPPClient, resource string) (*XMPPClient, error) {
	return s.XMPPMember(ctx, "", XMPPOptions{JID: of.JID, Password: of.options.Password, Resource: resource, OMEMO: of.options.OMEMO})
}

// RoomMember is XMPPMember for somebody who is made a member of the room and enters it.
func (s *Scene) RoomMember(ctx context.Context, nick string, o XMPPOptions) (*XMPPClient, error) {
	c, err := s.XMPPMember(ctx, strings.ToLower(nick), o)
	if err != nil {
		return nil, err
	}
	if err := s.Owner.Affiliate(ctx, s.Room, c.JID, "member"); err != nil {
		return nil, err
	}
	return c, c.Join(ctx, s.Room, nick)
}

// ProfanityMember makes an account of the domain and logs it in with Profanity, its keys published.
func (s *Scene) ProfanityMember(ctx context.Context, name, domain string) (*Profanity, error) {
	name = Unique(name)
	password, err := s.Bed.XMPPAccount(ctx, name, domain)
	if err != nil {
		return nil, err
	}
	p, err := StartProfanity(ctx, s.Bed, name+"@"+domain, password, s.Transcript)
	if err != nil {
		return nil, err
	}
	s.atEnd(p.Close)
	return p, p.PublishOMEMO(ctx)
}

// MatrixUser makes an account with the capitalised name as its display name, and logs it in.
func (s *Scene) MatrixUser(ctx context.Context, name string) (*Matrix, error) {
	display := strings.ToUpper(name[:1]) + name[1:]
	name = Unique(name)
	password, err := s.Bed.MatrixAccount(ctx, name)
	if err != nil {
		return nil, err
	}
	m, err := LoginMatrix(ctx, s.Bed, name, password, s.Transcript)
	if err != nil {
		return nil, err
	}
	s.atEnd(m.Close)
	return m, m.SetDisplayName(ctx, display)
}

// MatrixAgain logs the scene's Matrix user in again, after a restart of the homeserver.
func (s *Scene) MatrixAgain(ctx context.Context) (*Matrix, error) {
	name, _, _ := strings.Cut(s.Matrix.UserID[1:], ":")
	m, err := LoginMatrix(ctx, s.Bed, name, "pw-"+name, s.Transcript)
	if err == nil {
		s.atEnd(m.Close)
	}
	return m, err
}

// IRCUser connects and joins the scene's channel.
func (s *Scene) IRCUser(ctx context.Context, nick string, secure bool) (*IRC, error) {
	c, err := DialIRC(ctx, s.Bed, Unique(nick), secure, s.Transcript)
	if err != nil {
		return nil, err
	}
	s.atEnd(c.Close)
	return c, c.Join(ctx, s.Channel)
}

// Start starts Lockbridge and waits until it is in all three rooms.
func (s *Scene) Start(ctx context.Context) error {
	mark := s.Owner.Mark()
	if err := s.Lockbridge.StartReady(ctx); err != nil {
		return err
	}
	slot := s.Lockbridge.Slot
	_, err := s.Owner.AwaitAfter(ctx, mark, "the gateway in "+s.Room, func(e XMPPEvent) bool {
		return e.Kind == "presence" && e.Room == s.Room && e.Type == "" && e.Real == slot.JID()
	})
	if err == nil {
		_, err = s.Matrix.Await(ctx, "the gateway in "+s.Alias, func(e MatrixEvent) bool {
			return e.Room == s.MatrixRoom && e.Type == "m.room.member" && e.Content["membership"] == "join" && *e.StateKey == "@"+slot.Nick+":"+s.Bed.Host
		})
	}
	if err == nil {
		err = s.IRC.AwaitJoin(ctx, s.Channel, slot.Nick)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.LogTail())
	}
	return nil
}

// LogTail is the end of Lockbridge's log, for failure messages.
func (s *Scene) LogTail() string { return "lockbridge's log ends so:\n" + s.Lockbridge.text(0) }

// Close ends everybody and Lockbridge; an error says that Lockbridge did not end as it should.
func (s *Scene) Close() error {
	var err error
	if s.Lockbridge != nil {
		err = s.Lockbridge.Stop()
	}
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
	return err
}

// MatrixName is the real JID that Lockbridge gives a Matrix user's puppet: the MXID without @, escaped by XEP-0106.
func (s *Scene) MatrixName(m *Matrix) string {
	return strings.ReplaceAll(m.UserID[1:], ":", `\3a`) + "%matrix@" + s.Lockbridge.Slot.Component
}

// IRCName is the real JID that Lockbridge gives an IRC user's puppet.
func (s *Scene) IRCName(c *IRC) string {
	return c.Nick + "%irc@" + s.Lockbridge.Slot.Component
}
