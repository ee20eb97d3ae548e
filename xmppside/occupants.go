package xmppside

import (
	"bytes"
	"slices"
	"strings"

	"lockbridge/gateway"
)

// What a room may make us remember.
const (
	maxOccupants = 20000
	maxAffiliate = 20000
	maxAdmins    = 5 // that are told of something
)

// occupant is somebody in a room, as the room shows them to the gateway's occupant.
type occupant struct {
	nick        string
	real        string // real bare JID, "" where the room hides it
	full        string // the same with its resource
	id          string // occupant-id (XEP-0421), "" where the room gives none
	affiliation string
	role        string
	stay        string // see stayLocked
	photo       string // SHA-1 of their picture, in hex, as they say (XEP-0153); "" none
	relayed     bool   // another Lockbridge speaks for them
}

// The status codes of XEP-0045 that mean something to us.
const (
	statusSelf       = "110"
	statusNonAnon    = "100"
	statusConfigured = "104"
	statusBanned     = "301"
	statusRenamed    = "303"
	statusKicked     = "307"
	statusShutdown   = "332"
	statusTechnical  = "333"
)

func statuses(x *node) []string {
	var out []string
	for _, s := range x.all(nsMUCUser, "status") {
		out = append(out, s.get("code"))
	}
	return out
}

// seePresence lets the reader note that a room is read again from its history: its own presence to the gateway's
// occupant ends the gap, for history follows it.
func (r *room) seePresence(t tag, raw []byte) {
	if r.gapped.Load() && bare(t.get("to")) == r.side.self && t.get("type") == "" && hasSelfStatus(raw) {
		r.gapped.Store(false)
	}
}

func hasSelfStatus(raw []byte) bool {
	return bytes.Contains(raw, []byte("'110'")) || bytes.Contains(raw, []byte(`"110"`))
}

// presence takes in a presence of the room. Every occupant of ours gets everybody's; those of the gateway's occupant
// make the table, from the others only what concerns themselves matters. It returns how those who are there by
// themselves have changed.
func (r *room) presence(l *link, p *node) (changes []moved) {
	who, nick := bare(p.get("to")), resourceOf(p.get("from"))
	x := p.child(nsMUCUser, "x")
	codes := statuses(x)
	self := slices.Contains(codes, statusSelf)
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.changedLocked()
	if p.get("type") == "error" {
		delete(r.coming, nick)
		r.answerJoinLocked(who, errorOf(p))
		return nil
	}
	if _, ours := r.side.people.ofJID(who); self && p.get("type") != "unavailable" && (ours || who == r.side.self) {
		r.mine[who], r.ours[nick] = nick, who
		delete(r.coming, nick)
	}
	if who == r.side.self {
		changes = r.noteOccupantLocked(p, x, nick)
	}
	switch {
	case !self:
		return changes
	case p.get("type") == "unavailable":
		r.selfGoneLocked(who, nick, x, codes)
		return changes
	case who == r.side.self:
		changes = r.selfEnteredLocked(nick, x, codes)
		r.on = l
	}
	r.answerJoinLocked(who, nil)
	return changes
}

// noteOccupantLocked keeps the table of occupants and affiliations. ejabberd sends a first presence from the bare room
// address without an item.
func (r *room) noteOccupantLocked(p, x *node, nick string) []moved {
	item := x.child(nsMUCUser, "item")
	if nick == "" || item == nil {
		return nil
	}
	real := strings.Clone(normalBare(item.get("jid")))
	if real != "" {
		r.affiliateLocked(real, strings.Clone(item.get("affiliation")))
	}
	if p.get("type") == "unavailable" {
		gone := r.occupants[nick]
		delete(r.occupants, nick)
		delete(r.staged, nick)
		if nick == r.side.cfg.Nick {
			r.poke() // it may be ours again
		}
		if gone == nil || r.staged != nil || !r.nativeLocked(gone) {
			return nil
		}
		return r.wentLocked(gone, p, x)
	}
	nick = strings.Clone(nick) // which is a part of its stanza, like all that a parser returns
	o := &occupant{
		nick: nick, real: real, full: strings.Clone(item.get("jid")), id: strings.Clone(r.occupantIDLocked(p)),
		affiliation: strings.Clone(item.get("affiliation")), role: strings.Clone(item.get("role")), photo: strings.Clone(photoOf(p)),
		relayed: p.child(nsCaps, "c").get("node") == capsURI,
	}
	o.stay = r.stayLocked(o)
	if domainOf(real) == r.side.domain && len(r.ours) < maxOccupants {
		r.ours[nick] = real
	} else if r.mine[r.ours[nick]] != nick {
		delete(r.ours, nick)
	}
	if old := r.occupants[nick]; r.conf().Seal && r.staged == nil && real != "" && (old == nil || old.full != o.full) {
		r.side.devices.expire(real)
	}
	for _, table := range []map[string]*occupant{r.occupants, r.staged} {
		if table != nil && len(table) < maxOccupants {
			table[nick] = o
		}
	}
	if o.id != "" && real != "" && len(r.realOf) < maxOccupants {
		r.realOf[o.id] = real
	}
	if !r.nativeLocked(o) {
		return nil
	}
	if o.photo != "" && r.side.faces.of(o.photo) == "" {
		r.side.wantFace(r.jid, r.fullSelf(), r.jid+"/"+nick, o.photo)
	}
	if r.staged != nil {
		return nil
	}
	return r.cameLocked(o)
}

// occupantIDLocked is the id that the room gave an occupant. Where the room gives none, whoever writes one forges it; two
// of them mean that one is the sender's.
func (r *room) occupantIDLocked(stanza *node) string {
	ids := stanza.all(nsOccupantID, "occupant-id")
	if !r.givesOccupantIDs || len(ids) != 1 {
		return ""
	}
	return ids[0].get("id")
}

// affiliateLocked notes what somebody is to the room.
func (r *room) affiliateLocked(real, affiliation string) {
	for _, table := range []map[string]string{r.affiliated, r.learning} {
		switch affiliation {
		case "owner", "admin", "member":
			if table != nil && len(table) < maxAffiliate {
				table[real] = affiliation
			}
		case "none", "outcast":
			delete(table, real)
		}
	}
}

func (r *room) selfEnteredLocked(nick string, x *node, codes []string) (changes []moved) {
	r.nick = nick
	r.rank = x.child(nsMUCUser, "item").get("affiliation")
	r.nonAnonymous = r.nonAnonymous || slices.Contains(codes, statusNonAnon)
	if r.staged != nil {
		r.occupants, r.staged = r.staged, nil
		changes = r.listedLocked()
	}
	r.joined, r.destroyed, r.successor = true, false, ""
	return changes
}

// enteredOn reports whether the gateway has entered the room on this connection. A server that has not noticed yet that
// the connection before was lost goes on telling our occupant of old what is said, before anything is known of the room;
// its history has that, too.
func (r *room) enteredOn(l *link) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.on == l
}

// selfGoneLocked: an occupant of ours is out, or changes its nick.
func (r *room) selfGoneLocked(who, nick string, x *node, codes []string) {
	delete(r.ours, nick)
	if slices.Contains(codes, statusRenamed) {
		renamed := x.child(nsMUCUser, "item").get("nick")
		r.mine[who], r.ours[renamed] = renamed, who
		return
	}
	delete(r.mine, who)
	if who == r.side.self {
		r.joined, r.learnt, r.ready = false, false, false
		destroy := x.child(nsMUCUser, "destroy")
		r.outBy, r.destroyed = append([]string{}, codes...), destroy != nil
		if next := normalBare(destroy.get("jid")); next != "" && resourceOf(next) == "" {
			r.successor = next
		}
		r.poke()
	}
}

// notice takes in what the room says of itself in a message: changes of its configuration, and of the affiliations of
// people who are not there (XEP-0045, sections 9 and 10.2). It reports whether it was one.
func (r *room) notice(m *message) bool {
	x := m.child(nsMUCUser, "x")
	if x == nil || resourceOf(m.get("from")) != "" {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, item := range x.all(nsMUCUser, "item") {
		if real := normalBare(item.get("jid")); real != "" {
			r.affiliateLocked(real, item.get("affiliation"))
		}
	}
	for _, code := range statuses(x) {
		switch code {
		case "173", "174": // now semi-anonymous, fully anonymous: stop at once
			r.nonAnonymous = false
			fallthrough
		case statusConfigured, "172":
			r.changes++
			r.reread = true
			r.holding = r.holding || r.conf().Seal // until it is known what the room has become
			r.poke()
		}
	}
	r.changedLocked()
	return true
}

// speaker resolves who said something in the room now.
type sender struct {
	person gateway.Person
	nick   string
	real   string // real bare JID as far as the room shows it
	ours   string // our own bare JID, if one of our occupants said it
	// weak: the nick is all that is known of them; stay tells one bearer of it from the next, "" if that is not known.
	weak bool
	stay string
}

// senderOf resolves a message's from. A delayed message is resolved through its occupant-id alone: its nick may be
// somebody else's by now.
func (r *room) senderOf(m *message, delayed bool) sender {
	nick := resourceOf(m.get("from"))
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.occupantIDLocked(m.node)
	s := sender{nick: nick}
	o := r.occupants[nick]
	if o != nil && (o.id == id || id == "") && !(delayed && id == "") {
		s.real, id = o.real, o.id
	}
	if s.real == "" && id != "" {
		s.real = r.realOf[id]
	}
	if s.real == "" && m.archive != "" && r.nonAnonymous {
		s.real = archivedSender(m)
	}
	if !delayed {
		s.ours = r.ours[nick]
	}
	if s.ours == "" && s.real != "" && domainOf(s.real) == r.side.domain {
		s.ours = s.real
	}
	s.person = r.personLocked(s, id)
	s.weak = id == "" && !(r.nonAnonymous && s.real != "")
	if o != nil && o.id == id && !(delayed && id == "") {
		s.person.Avatar, s.stay = r.side.faces.of(o.photo), o.stay
	}
	return s
}

// archivedSender is the real address that a room put into its archive (XEP-0313, section 6.1.2). Only the archive vouches
// for it: in a live message the sender can write one. Two of them mean that one is the sender's.
func archivedSender(m *message) string {
	x := m.all(nsMUCUser, "x")
	if len(x) != 1 || len(x[0].all(nsMUCUser, "item")) != 1 {
		return ""
	}
	return normalBare(x[0].child(nsMUCUser, "item").get("jid"))
}

// personLocked names a sender for other networks. A semi-anonymous room's JIDs stay in it, even where we see them as
// its admin.
func (r *room) personLocked(s sender, id string) gateway.Person {
	p := gateway.Person{Network: r.conf().Network, Name: gateway.CleanName(s.nick)}
	switch {
	case r.nonAnonymous && s.real != "":
		p.ID = s.real
	case id != "":
		p.ID = id + "@" + r.jid
	default:
		p.ID = s.nick + "@" + r.jid
	}
	return p
}

// nickOf finds the occupant that a Person of this room is now.
func (r *room) nickOf(p gateway.Person) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for nick, o := range r.occupants {
		if _, ours := r.ours[nick]; ours {
			continue
		}
		if r.personLocked(sender{nick: nick, real: o.real}, o.id).ID == p.ID {
			return nick, true
		}
	}
	return "", false
}

// nicks lists who is there, without our own occupant who.
func (r *room) nicks(who string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for nick := range r.occupants {
		if r.ours[nick] != who || who == "" {
			out = append(out, nick)
		}
	}
	return out
}

// shows reports whether a real bare JID is a member of the room, or is in it.
func (r *room) shows(real string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.affiliated[real] != "" {
		return true
	}
	for _, o := range r.occupants {
		if o.real == real {
			return true
		}
	}
	return false
}

// admins are the nicks of the room's owners and admins that are there, without ours. There are few.
func (r *room) admins() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for nick, o := range r.occupants {
		if _, ours := r.ours[nick]; !ours && (o.affiliation == "owner" || o.affiliation == "admin") && len(out) < maxAdmins {
			out = append(out, nick)
		}
	}
	return out
}

// realMembers are the real bare JIDs that the room's content is meant for: all who are affiliated, there or not, and
// the occupants that are at least members; without our own, and without bare domains.
func (r *room) realMembers() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	set := map[string]bool{}
	for j := range r.affiliated {
		set[j] = true
	}
	for _, o := range r.occupants {
		if o.real != "" && (o.affiliation == "owner" || o.affiliation == "admin" || o.affiliation == "member") {
			set[o.real] = true
		}
	}
	out := make([]string, 0, len(set))
	for j := range set {
		if d := domainOf(j); d != r.side.domain && d != j {
			out = append(out, j)
		}
	}
	slices.Sort(out)
	return out
}
