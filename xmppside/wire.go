package xmppside

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// source reads from the socket and notes when something came.
type source struct {
	net.Conn
	heard *atomic.Int64
}

func (s source) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.heard.Store(time.Now().UnixNano())
	quickAck(s.Conn)
	return n, err
}

// wire is the connection as mellium sees it. The framing reader below owns the socket: mellium gets the handshake,
// stream errors and the answers to its queries.
type wire struct {
	net.Conn
	side *Side
	link *link

	framer    *framer
	inherited bindings
	out       []byte // what mellium has not read yet
	heard     atomic.Int64
}

// Read implements io.Reader for the session's decoder. The session's Serve calls it, so this is the one reader.
func (w *wire) Read(p []byte) (int, error) {
	for len(w.out) == 0 {
		fr, err := w.framer.next()
		if err != nil {
			return 0, err
		}
		if w.sort(fr) {
			w.out = fr.raw
		}
	}
	n := copy(p, w.out)
	w.out = w.out[n:]
	return n, nil
}

// The session limits its writes by deadlines which it lifts in a goroutine of its own, possibly in the middle of a
// later write of ours. Writes are limited in link.write and by the ping instead.

func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// sort sends a frame where it belongs and reports whether that is mellium.
func (w *wire) sort(fr frame) bool {
	t, err := parseTag(fr.raw)
	if fr.kind != frameChild {
		if fr.kind == frameOpen && err == nil {
			w.inherited = w.inherited.with(t)
		}
		return true
	}
	if err != nil {
		w.side.leaveOut(tag{}, err)
		return false
	}
	if fr.long {
		w.side.leaveOut(t, errTooLong)
	}
	switch t.name {
	case "message":
		w.takeMessage(fr, t)
	case "presence":
		if !w.isCopy(fr, t) {
			w.push(item{raw: fr.raw, bound: w.inherited, presence: true}, t)
		}
	case "iq":
		if kind := t.get("type"); kind == "result" || kind == "error" {
			return true
		}
		select {
		case w.link.queries <- w.inherited.bind(fr.raw, t):
		case <-w.link.down:
		}
	default:
		return true
	}
	return false
}

// isCopy reports whether a presence tells one of our occupants about somebody else in a room: the gateway's occupant is
// told the same. Rooms send one for each pair of occupants.
func (w *wire) isCopy(fr frame, t tag) bool {
	return bare(t.get("to")) != w.side.self && t.get("type") != "error" && w.side.roomOf(t.get("from")) != nil && !hasSelfStatus(fr.raw)
}

// takeMessage queues a message, unless it is a copy of a room's message for one of our occupants that does not listen.
func (w *wire) takeMessage(fr frame, t tag) {
	if t.get("type") == "groupchat" {
		if bare(t.get("to")) != w.side.self {
			return
		}
		if r := w.side.roomOf(t.get("from")); r != nil {
			r.heard.Store(w.side.now().UnixNano())
			if r.gapped.Load() {
				return // after a gap the room's history brings it
			}
		}
	}
	if !fr.long || t.get("type") == "groupchat" {
		w.push(item{raw: fr.raw, bound: w.inherited, long: fr.long}, t)
	}
}

// push queues a stanza for the worker. A room's message that finds the queue full makes a gap in the room, which is
// then read from its history; a direct one is refused for now.
func (w *wire) push(it item, t tag) {
	it.at = w.side.now()
	if it.presence {
		if r := w.side.roomOf(t.get("from")); r != nil {
			r.seePresence(t, it.raw)
		}
	}
	ok, overrun := w.link.queue.push(it)
	switch {
	case ok:
	case overrun:
		w.side.log.Error("too many stanzas wait to be read; connecting anew", "bytes", maxQueuedAll)
		w.link.close()
	case t.get("type") == "groupchat":
		if r := w.side.roomOf(t.get("from")); r != nil {
			r.markGap()
		}
	case t.get("type") != "error":
		refusal := el("", "message", "type", "error", "id", t.get("id"), "from", t.get("to"), "to", t.get("from")).
			add(errorNode("wait", "resource-constraint"))
		w.link.later(func(context.Context) { _ = w.link.send(refusal) }) // a lost refusal is a lost courtesy
	}
}
