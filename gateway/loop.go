package gateway

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"
)

// Where two bridges join the same rooms, each carries what the other one said, and nothing ever ends. Such a copy is
// known by its text, which was said here a moment ago, and by whom it names: relays write "<nick> text", puppets are
// called "nick[m]". It is accepted, so that it can be answered, and goes nowhere.
//
// People quote, too. Whoever also speaks without naming anybody counts as a person, and what a person repeats
// crosses, as does a short "nick: hello" that may be an answer; unless there are several such copies within a minute, as
// in a loop.

const (
	// loopTexts is how many texts of a bridge are remembered, for loopTime. loopSpeakers bounds the speakers.
	loopTexts    = 256
	loopSpeakers = 256
	// loopVerdicts bounds the messages whose verdict is remembered: more than one batch brings.
	loopVerdicts = 4096
	loopTime     = time.Minute
	// loopLines is how many lines of a message are remembered each: relays may carry them one by one.
	loopLines = 16
	// loopPatience is how many copies of a person within loopTime are no coincidence any more.
	loopPatience = 3
	// loopLong is how many bytes a text has that nobody repeats by chance to the one who said it.
	loopLong = 24
	// loopDepth is how many relays may have named somebody in front of a text.
	loopDepth = 3
)

// loops remembers, in memory and for each bridge, what was said lately.
type loops struct {
	now  func() time.Time
	seed maphash.Seed

	mu     sync.Mutex
	by     map[string]*lately // by the bridge's name
	copies map[ID]bool        // events that were copies, of late
}

func newLoops(now func() time.Time) *loops {
	return &loops{now: now, seed: maphash.MakeSeed(), by: map[string]*lately{}, copies: map[ID]bool{}}
}

// lately is what was said in one bridge.
type lately struct {
	texts    [loopTexts]spoken // a ring
	next     int
	speakers map[personKey]*speaker
	// verdicts are by network and native id, since Accept may run again: nothing counts twice.
	verdicts map[string]bool
}

// spoken is one text, or one line of it.
type spoken struct {
	hash uint64
	name string
	who  personKey
	at   time.Time
}

// speaker is what is known of the habits of somebody who may be a relay.
type speaker struct {
	person bool // said something that names nobody
	copies int  // since
	since  time.Time
}

// keep forgets bridges that are gone.
func (l *loops) keep(bridges []Bridge) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := map[string]*lately{}
	for _, b := range bridges {
		if was, ok := l.by[b.Name]; ok {
			kept[b.Name] = was
		}
	}
	l.by = kept
}

// words are what a message or an edit says; "" where that is not all of it, or nothing.
func words(b Body) string {
	switch b := b.(type) {
	case Message:
		if len(b.Files) == 0 {
			return b.Text.Plain
		}
	case Edit:
		if len(b.Files) == 0 {
			return b.Text.Plain
		}
	}
	return ""
}

// heard takes note of a message, or of an edit, that was said in a bridge, and reports whether it is a copy of another
// one by another bridge.
func (l *loops) heard(bridge, native string, who Person, b Body) (isCopy bool) {
	text := words(b)
	if text == "" {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.of(bridge)
	key := who.Network + " " + native
	if verdict, judged := s.verdicts[key]; judged && native != "" {
		return verdict
	}
	isCopy = s.judge(l, who, text)
	if len(s.verdicts) >= loopVerdicts {
		clear(s.verdicts)
	}
	s.verdicts[key] = isCopy
	if !isCopy { // a copy of a copy names the first speaker as well
		s.add(l, who, text)
	}
	return isCopy
}

// wasCopy reports whether an event was a copy. Whoever edits it copies on, whatever the text is by now.
func (l *loops) wasCopy(id ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.copies[id]
}

// noteCopy remembers a copy that is in the journal.
func (l *loops) noteCopy(id ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.copies) >= loopVerdicts {
		clear(l.copies)
	}
	l.copies[id] = true
}

// isCopy reports whether an event is what another bridge made of one of ours.
func (a *acceptance) isCopy(ev *Event) bool {
	b, bridged := a.router.bridges[ev.At]
	if !bridged || ev.own {
		return false
	}
	if e, isEdit := ev.Body.(Edit); isEdit && !e.Target.ID.IsZero() {
		sameBatch := slices.ContainsFunc(a.copies, func(c *Event) bool { return c.ID == e.Target.ID })
		if sameBatch || a.g.loops.wasCopy(e.Target.ID) {
			return true
		}
	}
	return a.g.loops.heard(b.Name, ev.Native, ev.Sender, ev.Body)
}

// copyPause is how long the log is spared another line about copies in the same room.
const copyPause = time.Minute

type copyKey struct{ room Address }

func (g *Gateway) noteCopies(network string, copies []*Event) {
	for _, ev := range copies {
		g.loops.noteCopy(ev.ID)
		g.metrics.copies.WithLabelValues(network).Inc()
		if key := (copyKey{ev.At}); g.told.free(key) {
			g.told.mark(map[any]time.Duration{key: copyPause})
			g.log.Warn("another bridge says again what was said here; its copies are not carried", "network", network, "room", ev.At.ID, "event", ev.ID)
		}
	}
}

// shown takes note of a message, or of an edit, as it is shown in one of the bridge's rooms, where it may look different.
func (l *loops) shown(bridge string, who Person, b Body) {
	text := words(b)
	if text == "" || who.IsZero() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(bridge).add(l, who, text)
}

func (l *loops) of(bridge string) *lately {
	s := l.by[bridge]
	if s == nil {
		s = &lately{speakers: map[personKey]*speaker{}, verdicts: map[string]bool{}}
		l.by[bridge] = s
	}
	return s
}

// hash is the same for texts that differ in white space and in IRC's formatting only.
func (l *loops) hash(text string) uint64 {
	var h maphash.Hash
	h.SetSeed(l.seed)
	for word := range strings.FieldsSeq(bare(text)) {
		_, _ = h.WriteString(word) // never fails
		_ = h.WriteByte(' ')
	}
	return h.Sum64()
}

// add remembers a text whole and by its lines, once for each speaker.
func (s *lately) add(l *loops, who Person, text string) {
	name, by, now := nameKey(who.Label()), personKey{who.Network, who.ID}, l.now()
	if name == "" {
		return
	}
	s.addOne(spoken{l.hash(text), name, by, now})
	if !strings.Contains(text, "\n") {
		return
	}
	n := 0
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		s.addOne(spoken{l.hash(line), name, by, now})
		if n++; n == loopLines {
			return
		}
	}
}

func (s *lately) addOne(one spoken) {
	for i := range s.texts {
		if was := &s.texts[i]; was.hash == one.hash && was.who == one.who {
			*was = one
			return
		}
	}
	s.texts[s.next] = one
	s.next = (s.next + 1) % loopTexts
}

// judge decides whether a text is a copy, and learns about its speaker.
func (s *lately) judge(l *loops, who Person, text string) bool {
	by, now := personKey{who.Network, who.ID}, l.now()
	if len(s.speakers) >= loopSpeakers && s.speakers[by] == nil {
		clear(s.speakers) // people are taken for relays again until they speak next
	}
	sp := s.speakers[by]
	if sp == nil {
		sp = &speaker{}
		s.speakers[by] = sp
	}
	doubt, found := s.original(l, who, text)
	_, _, names := cutRelay(bare(text))
	if !found {
		sp.person = sp.person || !names.named()
		return false
	}
	if now.Sub(sp.since) > loopTime || now.Before(sp.since) {
		sp.copies, sp.since = 0, now
	}
	sp.copies++
	if sp.person && (names.named() || strings.HasSuffix(who.Label(), "_")) {
		doubt = true
	}
	return !doubt || sp.copies >= loopPatience
}

// original looks for what a text may be a copy of. With doubt it may be a person's own words.
func (s *lately) original(l *loops, who Person, text string) (doubt, found bool) {
	name := nameKey(who.Label())
	base := withoutMark(name)
	if base != name && s.said(l, who, text, func(author string) bool { return author == base }) {
		return false, true
	}
	if s.said(l, who, text, func(author string) bool { return author == name }) {
		return true, true // the same name: one person in two networks, or a puppet
	}
	rest, strong := bare(text), false
	for range loopDepth {
		nick, after, form := cutRelay(rest)
		if !form.named() {
			return false, false
		}
		strong = strong || form == bracketed
		nick = nameKey(nick)
		if s.said(l, who, after, func(author string) bool { return holds(nick, author) }) {
			return !strong && len(after) < loopLong, true
		}
		rest = after
	}
	return false, false
}

// said reports whether somebody else, of a name that fits, said a text lately.
func (s *lately) said(l *loops, but Person, text string, fits func(name string) bool) bool {
	hash, by, since := l.hash(text), personKey{but.Network, but.ID}, l.now().Add(-loopTime)
	for i := range s.texts {
		one := &s.texts[i]
		if one.hash == hash && one.name != "" && one.who != by && one.at.After(since) && fits(one.name) {
			return true
		}
	}
	return false
}
