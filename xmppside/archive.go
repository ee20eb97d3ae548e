package xmppside

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// The room's archive (XEP-0313). A component has no stream acknowledgement, so the archive is how a gap is closed: a
// join's history is short (20 messages by default on Prosody).
const (
	nsMAM     = "urn:xmpp:mam:2"
	nsRSM     = "http://jabber.org/protocol/rsm"
	nsForward = "urn:xmpp:forward:0"
	nsForm    = "jabber:x:data"

	archivePage  = 100
	archivePages = 10000 // in one catch-up: far more than anybody says in a day
)

// startHolding has what is said in the room from now on wait for what was said before.
func (r *room) startHolding(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holding, r.held = on, nil // what an earlier attempt held comes from the archive again
}

// hold keeps back what is said while the archive, or what kind of room it is, is being read. When that is too much, the rest makes a gap, which is
// read in turn.
func (r *room) hold(what said) bool {
	r.mu.Lock()
	if !r.holding {
		r.mu.Unlock()
		return false
	}
	full := len(r.held) >= maxQueued
	if !full {
		r.held = append(r.held, what)
		r.changedLocked()
	}
	r.mu.Unlock()
	if full {
		r.markGap()
	}
	return true
}

func (r *room) releaseHeld() []said {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reread {
		return nil // it is released again once that is done
	}
	held := r.held
	r.holding, r.held = false, nil
	return held
}

// catchUp reads from the room's archive what was said in it since it was last read: after the last message that was, by
// time where the archive does not know that one. The room has been entered by then, so nothing falls between the archive
// and what is said live, which is held back meanwhile. The messages arrive by the queue like others; the answers only
// turn the pages.
func (r *room) catchUp(ctx context.Context, l *link, mem roomMemory) error {
	query, err := randomID()
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.query = query
	r.mu.Unlock()
	after, since := mem.Last, mem.Since
	if after != "" {
		since = time.Time{}
	}
	for page := range archivePages {
		for !l.queue.half() && ctx.Err() == nil {
			wait(ctx, 100*time.Millisecond)
		}
		fin, err := r.askArchive(ctx, l, query, since, after)
		if condition(err) == "item-not-found" && page == 0 && after != "" {
			after, since = "", mem.Since
			fin, err = r.askArchive(ctx, l, query, since, after)
		}
		if err != nil {
			return fmt.Errorf("read the room's archive: %w", err)
		}
		last := fin.child(nsRSM, "set").child(nsRSM, "last")
		if isTrue(fin.get("complete")) || last == nil || last.text == "" || last.text == after {
			return nil
		}
		after = last.text
	}
	r.log.Error("the room's archive does not end; the rest is left out", "limit", archivePage*archivePages)
	return nil
}

// isTrue reads a boolean of XML.
func isTrue(s string) bool { return s == "true" || s == "1" }

// askArchive asks for a page: of what was said after a message, or since a time.
func (r *room) askArchive(ctx context.Context, l *link, query string, since time.Time, after string) (fin *node, err error) {
	field := func(name, value string) *node {
		return el(nsForm, "field", "var", name).add(el(nsForm, "value").say(value))
	}
	form := el(nsForm, "x", "type", "submit").add(field("FORM_TYPE", nsMAM))
	if !since.IsZero() {
		form.add(field("start", since.UTC().Format(time.RFC3339)))
	}
	page := el(nsRSM, "set").add(el(nsRSM, "max").say(strconv.Itoa(archivePage)))
	if after != "" {
		page.add(el(nsRSM, "after").say(after))
	}
	iq, err := l.ask(ctx, "set", r.fullSelf(), r.jid, el(nsMAM, "query", "queryid", query).add(form, page))
	if err != nil {
		return nil, err
	}
	return iq.child(nsMAM, "fin"), nil
}

// archived takes a message out of a result of our own query to the room's archive. Nil: it is none.
func (r *room) archived(m *message) *message {
	result := m.child(nsMAM, "result")
	r.mu.Lock()
	query := r.query
	r.mu.Unlock()
	if result == nil || query == "" || result.get("queryid") != query || normalBare(m.get("from")) != r.jid || resourceOf(m.get("from")) != "" {
		return nil
	}
	forwarded := result.child(nsForward, "forwarded")
	if forwarded == nil {
		return nil
	}
	for _, inner := range forwarded.kids {
		if inner.name != "message" || inner.get("type") != "groupchat" || normalBare(inner.get("from")) != r.jid {
			continue
		}
		said := &message{node: &node{space: inner.space, name: inner.name, attrs: inner.attrs}, archive: result.get("id")}
		for _, kid := range inner.kids {
			switch {
			case kid.name == "encrypted":
				if said.addSealed(kid.space, kid.append(nil, "")) != nil {
					return nil
				}
			case kid.name != "delay":
				said.kids = append(said.kids, kid)
			}
		}
		stamp := forwarded.child(nsDelay, "delay").get("stamp")
		said.kids = append(said.kids, el(nsDelay, "delay", "from", r.jid, "stamp", stamp))
		return said
	}
	return nil
}
