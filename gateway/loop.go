package gateway

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
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

	mu sync.Mutex
	by map[string]*lately // by the bridge's name
}

func newLoops(now func() time.Time) *loops {
	return &loops{now: now, seed: maphash.MakeSeed(), by: map[string]*lately{}}
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

// heard takes note of a message that was said in a bridge, and reports whether it is a copy of another one by another
// bridge.
func (l *loops) heard(bridge, native string, who Person, m Message) (isCopy bool) {
	if m.Text.Plain == "" || len(m.Files) > 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.of(bridge)
	key := who.Network + " " + native
	if verdict, judged := s.verdicts[key]; judged && native != "" {
		return verdict
	}
	isCopy = s.judge(l, who, m.Text.Plain)
	if len(s.verdicts) >= loopVerdicts {
		clear(s.verdicts)
	}
	s.verdicts[key] = isCopy
	if !isCopy { // a copy of a copy names the first speaker as well
		s.add(l, who, m.Text.Plain)
	}
	return isCopy
}

// isCopy reports whether an event is what another bridge made of one of ours.
func (a *acceptance) isCopy(ev *Event) bool {
	b, bridged := a.router.bridges[ev.At]
	m, isMessage := ev.Body.(Message)
	return bridged && isMessage && !ev.own && a.g.loops.heard(b.Name, ev.Native, ev.Sender, m)
}

// copyPause is how long the log is spared another line about copies in the same room.
const copyPause = time.Minute

type copyKey struct{ room Address }

func (g *Gateway) noteCopies(network string, copies []*Event) {
	for _, ev := range copies {
		g.metrics.copies.WithLabelValues(network).Inc()
		if key := (copyKey{ev.At}); g.told.free(key) {
			g.told.mark(map[any]time.Duration{key: copyPause})
			g.log.Warn("another bridge says again what was said here; its copies are not carried", "network", network, "room", ev.At.ID, "event", ev.ID)
		}
	}
}

// shown takes note of a message as it is shown in one of the bridge's rooms, where it may look different.
func (l *loops) shown(bridge string, who Person, m Message) {
	if m.Text.Plain == "" || who.IsZero() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(bridge).add(l, who, m.Text.Plain)
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

// relayForm is how a text begins that a relay may have written.
type relayForm int

const (
	unnamed   relayForm = iota
	bracketed           // "<nick> text", "[nick] text", "(nick) text", "**nick**: text"
	addressed           // "nick: text", as people also write to each other
)

func (f relayForm) named() bool { return f != unnamed }

// cutRelay takes a name off the front of a text.
func cutRelay(text string) (nick, rest string, form relayForm) {
	text = strings.TrimSpace(text)
	for _, mark := range []struct{ open, end string }{{"<", "> "}, {"[", "] "}, {"(", ") "}, {"**", "**: "}, {"**<", ">** "}} {
		inner, ok := strings.CutPrefix(text, mark.open)
		if !ok {
			continue
		}
		if nick, rest, ok = strings.Cut(inner, mark.end); ok && isNick(nick) && strings.TrimSpace(rest) != "" {
			return nick, rest, bracketed
		}
	}
	if nick, rest, ok := strings.Cut(text, ": "); ok && isNick(nick) && strings.TrimSpace(rest) != "" {
		return nick, rest, addressed
	}
	return "", text, unnamed
}

// isNick reports whether a name may be a relay's word for somebody.
func isNick(s string) bool {
	return s != "" && !strings.Contains(s, "\n") && utf8.RuneCountInString(s) <= 64 && strings.Count(s, " ") <= 4
}

// nameKey makes names comparable: without case, surrounding space, and the invisible characters with which relays keep
// a name from ringing.
func nameKey(name string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, CleanName(bare(name))))
}

// holds reports whether nick is name, or has it in it as a word of its own.
func holds(nick, name string) bool {
	for from := 0; ; {
		i := strings.Index(nick[from:], name)
		if i < 0 || name == "" {
			return false
		}
		begin, end := from+i, from+i+len(name)
		before, _ := utf8.DecodeLastRuneInString(nick[:begin])
		after, _ := utf8.DecodeRuneInString(nick[end:])
		if !isWord(before) && !isWord(after) {
			return true
		}
		from = begin + 1
	}
}

func isWord(r rune) bool { return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)) }

// withoutMark takes away by what bridges mark their puppets; the name must be a nameKey.
func withoutMark(name string) string {
	for range loopDepth {
		was := name
		for _, mark := range []string{
			"[m]", "[matrix]", "[x]", "[xmpp]", "[irc]", "|m", "|matrix", "|x", "|xmpp", "|irc", "-m", "-matrix", "-xmpp", "-irc",
			"(m)", "(matrix)", "(xmpp)", "(irc)", "_",
		} {
			name = strings.TrimSpace(strings.TrimSuffix(name, mark))
		}
		if name == "" {
			return was
		}
		if name == was {
			break
		}
	}
	return name
}

// bare takes IRC's formatting out of a text (modern.ircdocs.horse/formatting).
func bare(text string) string {
	if !strings.ContainsFunc(text, isFormat) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == 0x03:
			i += colorLength(text[i+1:], 2, func(c byte) bool { return c >= '0' && c <= '9' })
		case c == 0x04:
			i += colorLength(text[i+1:], 6, func(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 })
		case !isFormat(rune(c)):
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isFormat(r rune) bool {
	switch r {
	case 0x02, 0x03, 0x04, 0x0f, 0x11, 0x16, 0x1d, 0x1e, 0x1f:
		return true
	}
	return false
}

// colorLength is how many bytes name a color, and maybe a second one behind a comma.
func colorLength(s string, digits int, digit func(byte) bool) int {
	n := 0
	for n < len(s) && n < digits && digit(s[n]) {
		n++
	}
	if n > 0 && n+1 < len(s) && s[n] == ',' && digit(s[n+1]) {
		n++
		for end := n + digits; n < len(s) && n < end && digit(s[n]); n++ {
		}
	}
	return n
}
