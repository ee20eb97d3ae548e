package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"golang.org/x/sys/unix"

	"lockbridge/omemo"
)

// The sizes are those of signal.c.
const (
	devices = 200
	peers   = 50
	version = omemo.Legacy // what libsignal-protocol-c speaks
	ownJID  = "lockbridge@bridge.example.org"
)

// operations of a Go worker. Each makes what it needs and returns a function for one round: the CPU nanoseconds spent,
// and on how many operations. As in signal.c, what prepares an operation is not counted.
//
// Every one of ours goes through the Manager as the gateway's do: state is read from the store as bytes, parsed, used,
// serialised and put back. Two things that the C program does not do are counted with ours: a message's content is
// sealed (AES-GCM, with a fresh key) and a bundle is read from its XML.
var operations = map[string]func() (func() (float64, int, error), error){
	"seal_device":    func() (func() (float64, int, error), error) { return rounds(devices, true, (*room).sealAll) },
	"seal_one":       func() (func() (float64, int, error), error) { return rounds(devices, true, (*room).sealOne) },
	"open_chain":     func() (func() (float64, int, error), error) { return rounds(devices, true, (*room).openChain) },
	"open_turn":      func() (func() (float64, int, error), error) { return rounds(peers, true, (*room).openTurn) },
	"turn_reply":     func() (func() (float64, int, error), error) { return rounds(peers, true, (*room).turnReply) },
	"session_build":  func() (func() (float64, int, error), error) { return rounds(peers, false, (*room).sessionBuild) },
	"session_again":  func() (func() (float64, int, error), error) { return rounds(peers, false, (*room).sessionAgain) },
	"first_open":     func() (func() (float64, int, error), error) { return rounds(peers, false, (*room).firstOpen) },
	"parse_1000":     parse1000(false),
	"parse_1000_all": parse1000(true),
	"tokens_1000":    tokens1000,
	"write_1000":     write1000,
	"write_1000_new": writeNew1000,
	"marshal_1000":   marshal1000,
}

func rounds(count int, sessions bool, round func(*room) (float64, error)) (func() (float64, int, error), error) {
	r, err := newRoom(count, sessions)
	return func() (float64, int, error) {
		spent, err := round(r)
		return spent, count, err
	}, err
}

// cpu is the process's CPU time in nanoseconds, the garbage collector's included.
func cpu() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		panic(err) // every Linux has this clock
	}
	return float64(t.Nano())
}

func timed(fn func() error) (float64, error) {
	start := cpu()
	err := fn()
	return cpu() - start, err
}

// memory is a store in memory.
type memory map[string][]byte

func (m memory) GetMany(_ context.Context, keys []string) (map[string][]byte, error) {
	out := make(map[string][]byte, len(keys))
	for _, k := range keys {
		if v, ok := m[k]; ok {
			out[k] = v
		}
	}
	return out, nil
}

func (m memory) PutMany(_ context.Context, values map[string][]byte) error {
	for k, v := range values {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	return nil
}

func (m memory) List(_ context.Context, prefix string) (map[string][]byte, error) {
	out := make(map[string][]byte)
	for k, v := range m {
		if strings.HasPrefix(k, prefix) {
			out[k] = v
		}
	}
	return out, nil
}

// party is a device with its state in memory.
type party struct {
	state   memory
	fresh   memory // its state before it had any session
	manager *omemo.Manager
	address omemo.Address
	bundle  *omemo.Bundle
}

func newParty(jid string) (*party, error) {
	ctx := context.Background()
	p := &party{state: memory{}}
	p.manager = omemo.NewManager(p.state, omemo.Options{})
	device, err := p.manager.EnsureDevice(ctx, jid)
	if err != nil {
		return nil, err
	}
	p.address = omemo.Address{JID: jid, Device: device.ID}
	if p.bundle, err = p.manager.Bundle(ctx, version, jid); err != nil {
		return nil, err
	}
	p.fresh = maps.Clone(p.state)
	return p, nil
}

// forget drops all sessions, and brings used prekeys back.
func (p *party) forget() {
	clear(p.state)
	maps.Copy(p.state, p.fresh)
}

// seal seals for another party; bundles may be nil when there is a session.
func (p *party) seal(to *party, bundle *omemo.Bundle) (*omemo.Message, error) {
	msg, report, err := p.manager.Seal(context.Background(), version, p.address.JID, []omemo.Address{to.address},
		map[omemo.Address]*omemo.Bundle{to.address: bundle}, body())
	if err == nil && len(report.Sealed) != 1 {
		err = errors.New("not sealed")
	}
	return msg, err
}

// open opens the key only, as the C program does.
func (p *party) open(from *party, msg *omemo.Message) error {
	key := *msg
	key.IV, key.Payload = nil, nil
	_, err := p.manager.Open(context.Background(), p.address.JID, []string{from.address.JID}, &key)
	return err
}

func body() []byte { return []byte("what light through yonder window breaks?") }

// room is an own device and its peers.
type room struct {
	own      *party
	peers    []*party
	to       []omemo.Address
	bundles  []*omemo.Bundle // one prekey each
	xml      [][]byte        // the same, published
	messages []*omemo.Message
}

func newRoom(count int, sessions bool) (*room, error) {
	own, err := newParty(ownJID)
	if err != nil {
		return nil, err
	}
	r := &room{own: own, messages: make([]*omemo.Message, count)}
	for i := range count {
		p, err := newParty(fmt.Sprintf("member%d@example.org", i))
		if err != nil {
			return nil, err
		}
		one := *p.bundle
		one.PreKeys = one.PreKeys[:1]
		r.peers, r.to = append(r.peers, p), append(r.to, p.address)
		r.bundles, r.xml = append(r.bundles, &one), append(r.xml, one.AppendXML(nil))
	}
	if sessions {
		return r, r.meet()
	}
	return r, nil
}

// meet gives all a session that both ends have used.
func (r *room) meet() error {
	bundles := make(map[omemo.Address]*omemo.Bundle, len(r.to))
	for i, a := range r.to {
		bundles[a] = r.bundles[i]
	}
	first, _, err := r.own.manager.Seal(context.Background(), version, ownJID, r.to, bundles, body())
	if err != nil {
		return err
	}
	for i, p := range r.peers {
		only := *first
		only.Keys = first.Keys[i : i+1]
		if err := p.open(r.own, &only); err != nil {
			return err
		}
		answer, err := p.seal(r.own, nil)
		if err != nil {
			return err
		}
		if err := r.own.open(p, answer); err != nil {
			return err
		}
	}
	_, _, err = r.own.manager.Seal(context.Background(), version, ownJID, r.to, nil, body()) // makes the turns that are due
	return err
}

// sealAll is a message to the room: one Seal for all devices.
func (r *room) sealAll() (float64, error) {
	return timed(func() error {
		_, report, err := r.own.manager.Seal(context.Background(), version, ownJID, r.to, nil, body())
		if err == nil && len(report.Sealed) != len(r.to) {
			err = errors.New("not sealed for all")
		}
		return err
	})
}

// sealOne is a message of its own to each device, as in direct chats.
func (r *room) sealOne() (float64, error) {
	return timed(func() error {
		for _, p := range r.peers {
			if _, err := r.own.seal(p, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *room) openAll() error {
	for i, p := range r.peers {
		if err := r.own.open(p, r.messages[i]); err != nil {
			return err
		}
	}
	return nil
}

// openChain opens the next message of each peer's chain.
func (r *room) openChain() (float64, error) {
	for i, p := range r.peers {
		var err error
		if r.messages[i], err = p.seal(r.own, nil); err != nil {
			return 0, err
		}
	}
	return timed(r.openAll)
}

// answered has each peer answer a message of ours: its answer brings a new ratchet key.
func (r *room) answered() error {
	for i, p := range r.peers {
		msg, err := r.own.seal(p, nil)
		if err != nil {
			return err
		}
		if err := p.open(r.own, msg); err != nil {
			return err
		}
		if r.messages[i], err = p.seal(r.own, nil); err != nil {
			return err
		}
	}
	return nil
}

// openTurn: the sending half of the turn waits until we send, which a device that only listens never does.
func (r *room) openTurn() (float64, error) {
	if err := r.answered(); err != nil {
		return 0, err
	}
	return timed(r.openAll)
}

// turnReply is openTurn with an answer, and so with both halves of the turn.
func (r *room) turnReply() (float64, error) {
	if err := r.answered(); err != nil {
		return 0, err
	}
	spent, err := timed(func() error {
		for i, p := range r.peers {
			if err := r.own.open(p, r.messages[i]); err != nil {
				return err
			}
			var err error
			if r.messages[i], err = r.own.seal(p, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for i, p := range r.peers {
		if err := p.open(r.own, r.messages[i]); err != nil {
			return 0, err
		}
	}
	return spent, nil
}

// sessionBuild reads each bundle's XML, verifies it, starts a session and seals in it.
func (r *room) sessionBuild() (float64, error) {
	r.own.forget()
	return timed(func() error {
		for i, p := range r.peers {
			bundle, err := omemo.ParseBundle(version, r.xml[i])
			if err != nil {
				return err
			}
			if _, err := r.own.seal(p, bundle); err != nil {
				return err
			}
		}
		return nil
	})
}

// sessionAgain is sessionBuild with a bundle that was verified before, as for every puppet but the first.
func (r *room) sessionAgain() (float64, error) {
	r.own.forget()
	return timed(func() error {
		for i, p := range r.peers {
			if _, err := r.own.seal(p, r.bundles[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// firstOpen opens each peer's key exchange, with a prekey of its own.
func (r *room) firstOpen() (float64, error) {
	r.own.forget()
	for i, p := range r.peers {
		p.forget()
		one := *r.own.bundle
		one.PreKeys = one.PreKeys[i : i+1]
		var err error
		if r.messages[i], err = p.seal(r.own, &one); err != nil {
			return 0, err
		}
	}
	return timed(r.openAll)
}
