package xmppside

import (
	"fmt"
	"slices"
	"time"
)

// page answers a query of the archive with at most pageSize messages.
func (f *fakeServer) page(iq, q *node) *node {
	f.pages = append(f.pages, q)
	const pageSize = 100
	since := time.Time{}
	for _, field := range q.child(nsForm, "x").all(nsForm, "field") {
		if field.get("var") == "start" {
			since, _ = time.Parse(time.RFC3339, field.child(nsForm, "value").text)
		}
	}
	after, from := q.child(nsRSM, "set").child(nsRSM, "after"), 0
	if after != nil {
		from = slices.IndexFunc(f.archive, func(a archived) bool { return a.id() == after.text }) + 1
		if from == 0 {
			return refusal(iq, "cancel", "item-not-found")
		}
	}
	set, n := el(nsRSM, "set"), 0
	fin := el(nsMAM, "fin").add(set)
	for _, a := range f.archive[from:] {
		if a.at.Before(since) {
			continue
		}
		if n++; n > pageSize {
			return result(iq, fin)
		}
		stanza := *a.stanza
		stanza.space = nsClient
		f.write(el("", "message", "from", fakeRoom, "to", iq.get("from")).add(el(nsMAM, "result", "queryid", q.get("queryid"), "id", a.id()).
			add(el(nsForward, "forwarded").add(el(nsDelay, "delay", "stamp", a.at.UTC().Format(time.RFC3339Nano)), &stanza))))
		set.kids = []*node{el(nsRSM, "last").say(a.id())}
	}
	fin.attrs = append(fin.attrs, attr{"complete", "true"})
	return result(iq, fin)
}

func (f *fakeServer) presence(p *node) {
	full, nick := p.get("from"), resourceOf(p.get("to"))
	if p.get("type") == "unavailable" {
		delete(f.room, full)
		return
	}
	if f.shut != "" {
		f.refused++
		f.write(el("", "presence", "type", "error", "from", p.get("to"), "to", full).add(errorNode("auth", f.shut)))
		return
	}
	for other, taken := range f.room {
		if taken == nick && other != full {
			f.write(el("", "presence", "type", "error", "from", p.get("to"), "to", full).add(errorNode("cancel", "conflict")))
			return
		}
	}
	x := p.child(nsMUC, "x")
	if x == nil && f.room[full] == "" {
		f.write(el("", "presence", "type", "error", "from", p.get("to"), "to", full).add(errorNode("cancel", "item-not-found")))
		return
	}
	f.room[full] = nick
	for to, other := range f.room {
		if to != full {
			f.write(f.occupant(other, f.members[bare(to)], to, full, false))
			f.write(f.occupant(nick, f.members[bare(full)], full, to, false))
		}
	}
	f.write(f.occupant(nick, f.members[bare(full)], full, full, true)) // the last one of a join (XEP-0045, section 7.1)
	if x == nil {
		return
	}
	if f.picture != "" {
		f.write(roomPresence(full, f.picture))
	}
	history := x.child(nsMUC, "history")
	since, err := time.Parse(time.RFC3339, history.get("since"))
	told := f.archive
	if n := len(told) - f.history; f.history > 0 && n > 0 {
		told = told[n:]
	}
	for _, a := range told {
		if history.get("maxstanzas") == "0" || err != nil || a.at.Before(since) {
			continue
		}
		copied := *a.stanza
		copied.attrs = append(slices.Clone(copied.attrs), attr{"to", full})
		copied.kids = append(slices.Clone(copied.kids), el(nsDelay, "delay", "from", fakeRoom, "stamp", a.at.UTC().Format(time.RFC3339)))
		f.write(&copied)
	}
	f.write(el("", "message", "type", "groupchat", "from", fakeRoom, "to", full).add(el("", "subject")))
}

// role is a moderator's for admins of a moderated room.
func (f *fakeServer) role(real string) string {
	if a := f.members[bare(real)]; slices.Contains(f.features, "muc_moderated") && (a == "admin" || a == "owner") {
		return "moderator"
	}
	return "participant"
}

func (f *fakeServer) occupant(nick, affiliation, real, to string, self bool) *node {
	x := el(nsMUCUser, "x").add(el(nsMUCUser, "item", "affiliation", affiliation, "role", f.role(real), "jid", real))
	if self {
		x.add(el(nsMUCUser, "status", "code", "100"), el(nsMUCUser, "status", "code", "110"))
	}
	return el("", "presence", "from", fakeRoom+"/"+nick, "to", to).add(x)
}

func (f *fakeServer) groupchat(m *node) {
	nick, in := f.room[m.get("from")]
	if c := f.refusing[m.get("from")]; c != "" {
		f.write(el("", "message", "type", "error", "id", m.get("id"), "from", fakeRoom, "to", m.get("from")).add(errorNode("auth", c)))
		return
	}
	if !in {
		f.write(el("", "message", "type", "error", "id", m.get("id"), "from", fakeRoom, "to", m.get("from")).add(errorNode("modify", "not-acceptable")))
		return
	}
	if f.swallow != nil && f.swallow(m) {
		return
	}
	f.say(nick, m.get("id"), m.kids...)
}

// say lets an occupant say something.
func (f *fakeServer) say(nick, id string, kids ...*node) {
	if f.forget {
		return
	}
	f.n++
	stanza := el("", "message", "type", "groupchat", "id", id, "from", fakeRoom+"/"+nick).
		add(kids...).add(el(nsSID, "stanza-id", "by", fakeRoom, "id", fmt.Sprintf("s%d", f.n)))
	f.archive = append(f.archive, archived{time.Now(), stanza})
	if f.mute {
		return
	}
	for full := range f.room {
		copied := *stanza
		copied.attrs = append(slices.Clone(copied.attrs), attr{"to", full})
		f.write(&copied)
	}
}

// juliet says something as an occupant with a real address.
func (f *fakeServer) juliet(kids ...*node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.say("Juliet", fmt.Sprintf("j%d", f.n), kids...)
}

// enter shows Juliet to those who are in the room.
func (f *fakeServer) enter(nick, real, affiliation string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for full := range f.room {
		f.write(f.occupant(nick, affiliation, real, full, false))
	}
}

// roomPresence announces the picture of the room itself; "" that it has none.
func roomPresence(to, hash string) *node {
	return el("", "presence", "from", fakeRoom, "to", to).add(el(nsPhoto, "x").add(el(nsPhoto, "photo").say(hash)))
}
