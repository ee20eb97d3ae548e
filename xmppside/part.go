package xmppside

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// job is a delivery on its way out: one stanza, or several.
type job struct {
	*gateway.Delivery
	voice voice
	parts []*part
	done  bool             // an earlier attempt arrived
	about *gateway.Receipt // set for a report in a direct chat
	err   error
}

// part is one stanza of a job.
type part struct {
	id   string // and origin-id
	name string // gateway.Part.Name
	says utterance
	raw  []byte // as it is written
	done bool   // an earlier attempt arrived
	wait <-chan error
}

// utterance is what one stanza says, in the form that each protection takes.
type utterance struct {
	name   string  // of the part: "", or filePart of a file
	plain  []*node // where nothing is sealed
	legacy string  // the text to be sealed by the legacy version, which seals nothing else
	beside []*node // what stands beside that in the clear, where the metadata may
	two    []*node // what OMEMO 2 seals
	act    bool    // it has no text: where all of it cannot be sealed, it goes in the clear or not at all
	needs  bool    // without what stands beside, it would say something else
	by     string  // the address of ours that says it, where it is not the job's voice
}

// filePart names the part of the nth file, counted from 1.
func filePart(n int) string { return "f" + strconv.Itoa(n) }

// id is the id of a direct message.
func (j *job) id() string {
	if j.about != nil {
		return "report-" + j.Key
	}
	return j.Key
}

// say gives the job its stanzas.
func (j *job) say(all ...utterance) {
	j.parts = nil
	for _, u := range all {
		p := &part{id: j.id(), name: u.name, says: u}
		if len(all) > 1 || u.name != "" {
			p.id = originID(j.id(), u.name, len(all))
		}
		j.parts = append(j.parts, p)
	}
}

// by is the bare JID that says a part.
func (j *job) by(p *part) string { return cmp.Or(p.says.by, j.voice.jid) }

// unsaid reports whether the stanzas of the job are still to be made.
func (j *job) unsaid() bool { return !j.done && j.err == nil && len(j.parts) == 0 }

// waits reports whether a part of the job has been written and waits for its answer.
func (j *job) waits() bool {
	return slices.ContainsFunc(j.parts, func(p *part) bool { return p.wait != nil })
}

func (j *job) checkLength(log *slog.Logger) {
	for _, p := range j.parts {
		switch n := len(p.raw); {
		case n > maxWritten:
			j.err = gateway.Dropf("the message is too long (%d KB; %d are possible)", n>>10, maxWritten>>10)
		case n > warnWritten:
			log.Warn("a message nearly reached the size that can be sent", "bytes", n, "limit", maxWritten, "key", j.Key)
		}
	}
}

// What stands under a delivery's out key.
const (
	outStanza  = 'S' // followed by the stanza that was, or is about to be, written
	outStanzas = 'P' // followed by several: of each its part's name and its bytes, both with their lengths
)

// kept is what State keeps of the stanzas until the delivery has ended.
func (j *job) kept() []byte {
	if len(j.parts) == 1 && j.parts[0].name == "" {
		return append([]byte{outStanza}, j.parts[0].raw...)
	}
	out := []byte{outStanzas}
	for _, p := range j.parts {
		out = append(binary.AppendUvarint(out, uint64(len(p.name))), p.name...)
		out = append(binary.AppendUvarint(out, uint64(len(p.raw))), p.raw...)
	}
	return out
}

var errKept = errors.New("what was kept of an earlier attempt is damaged")

// recallFrom gives the job the stanzas that kept wrote.
func (j *job) recallFrom(value []byte) error {
	var all []utterance
	var raws [][]byte
	switch value[0] {
	case outStanza:
		all, raws = []utterance{{}}, [][]byte{value[1:]}
	case outStanzas:
		for rest := value[1:]; len(rest) > 0; {
			name, more, ok := cutBytes(rest)
			raw, after, ok2 := cutBytes(more)
			if !ok || !ok2 {
				return errKept
			}
			all, raws, rest = append(all, utterance{name: string(name)}), append(raws, raw), after
		}
	}
	if len(all) == 0 {
		return errKept
	}
	j.say(all...)
	for i, p := range j.parts {
		p.raw = raws[i]
	}
	return nil
}

// cutBytes takes bytes with their length before them off b.
func cutBytes(b []byte) (head, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}

// recall finds what earlier attempts left: reflections, and the very bytes to write.
func (s *Side) recall(ctx context.Context, jobs []*job) error {
	var keys []string
	for _, j := range jobs {
		switch {
		case j.Attempt == 0:
		case s.ended.has(j.Key):
			j.done = true
		default:
			keys = append(keys, stateOut+j.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	found, err := s.deps.State.GetMany(ctx, keys)
	if err != nil {
		return fmt.Errorf("recall earlier attempts: %w", err)
	}
	for _, j := range jobs {
		v := found[stateOut+j.Key]
		if j.done || j.Attempt == 0 {
			continue
		}
		if len(v) == 0 { // what has one part and came in the clear is not kept
			j.done = len(j.Known) > 0
			continue
		}
		if err := j.recallFrom(v); err != nil {
			return err
		}
		left := false
		for _, p := range j.parts {
			p.done = s.ended.has(p.id) || slices.ContainsFunc(j.Known, func(k gateway.Part) bool { return k.Name == p.name })
			left = left || !p.done
		}
		j.done = j.done || !left
	}
	return nil
}

// keep makes durable what is about to be said in several stanzas, inside no transaction: should only some of them arrive,
// the others are said in the same words.
func (s *Side) keep(ctx context.Context, jobs []*job) error {
	values := map[string][]byte{}
	for _, j := range jobs {
		if j.err == nil && !j.done && (len(j.parts) > 1 || len(j.parts) == 1 && j.parts[0].name != "") {
			values[stateOut+j.Key] = j.kept()
		}
	}
	if len(values) == 0 {
		return nil
	}
	err := s.deps.State.Update(ctx, func(ctx context.Context) error { return s.deps.State.PutMany(ctx, values) })
	if err != nil {
		return fmt.Errorf("keep what is about to be said: %w", err)
	}
	return nil
}

// originID is what marks a stanza of ours that is one of count: the delivery's key, the part's number (that of its file, 0
// for the text) and the count.
func originID(key, part string, count int) string {
	n, _ := strings.CutPrefix(part, "f")
	if n == "" {
		n = "0"
	}
	return key + "/" + n + "." + strconv.Itoa(count)
}

// maxParts is how many stanzas a delivery is at most.
const maxParts = 2 * (gateway.MaxFiles + 1)

// parsePart reads what follows the key in an origin-id of ours. Without that there is one part.
func parsePart(s string) (name string, count int, ok bool) {
	if s == "" {
		return "", 1, true
	}
	number, of, _ := strings.Cut(s, ".")
	n, err1 := strconv.Atoi(number)
	count, err2 := strconv.Atoi(of)
	if err1 != nil || err2 != nil || n < 0 || n > maxParts || count < 1 || count > maxParts {
		return "", 0, false
	}
	if n > 0 {
		name = filePart(n)
	}
	return name, count, true
}

// reflectedWhole notes that a part of a delivery came back, and reports whether all of them have by now, as far as this
// process has seen.
func (s *Side) reflectedWhole(key, part string, count int) bool {
	if part == "" {
		return true
	}
	s.reflected.add(key + "/" + part)
	n := 0
	for i := range maxParts + 1 {
		if s.reflected.has(fmt.Sprintf("%s/%d.%d", key, i, count)) {
			n++
		}
	}
	return n >= count
}

// allTwo remembers of rooms and people, by bare JID, whether all devices that something was sealed for last were ones of
// OMEMO 2.
type allTwo struct {
	mu sync.Mutex
	of map[string]bool
}

func (a *allTwo) note(jid string, to map[omemo.Version][]omemo.Address) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil || len(a.of) >= maxKeys {
		a.of = map[string]bool{}
	}
	a.of[jid] = len(to[omemo.Legacy]) == 0
}

func (a *allTwo) are(jid string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.of[jid]
}

// voiceKind is the kind of an alias that tells which voice of ours said something, and under which id attribute: a
// correction names that one (XEP-0308).
const voiceKind = "voice:"

// voiceAlias is the alias of a reflection of what an address of ours said.
func (what said) voiceAlias(own string) []string {
	if what.content.id == "" || what.content.replaces != "" {
		return nil
	}
	return []string{messageAlias(voiceKind, own, what.content.id)}
}

// voiceOf finds in the parts of a target the voice of ours that said it, and the id attribute of the part of that name.
func voiceOf(p gateway.Part) (jid, id string, ok bool) {
	for _, alias := range p.Also {
		if rest, is := strings.CutPrefix(alias, voiceKind); is {
			return strings.Cut(rest, "\x1f")
		}
	}
	return "", "", false
}
