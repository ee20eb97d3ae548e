package ircside

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/lrstanley/girc"
)

// A channel may forward those who join it to another one (numeric 470, as modules and modes of several servers send it).
// We follow where the other channel's topic names the one that we asked for; else somebody who may set a forward could
// carry a bridge's messages away to strangers. The forward is not remembered: each JOIN asks for the channel of the
// config, so that we are back there as soon as it forwards no more.

// errForwarded is "470 me #asked #other :reason".
const errForwarded = "470"

// forwarded notes that a JOIN was forwarded. The JOIN of the other channel and its topic follow.
func (s *session) forwarded(e *girc.Event) {
	const most = 64 // forwards that wait for a topic
	r, to := s.room(param(e, 1)), param(e, 2)
	if r == nil || r.state == roomIn || !validTarget(to) || len(to) > maxChannel || len(s.forwards) >= most {
		return
	}
	if s.room(to) != nil {
		s.leave(r, s.c.side.timings.forwarded, fmt.Errorf("the channel forwards to %s, which is bridged already: change the configuration", cleanReason(to)))
		return
	}
	s.forwards[s.c.casemap.fold(to)] = r
}

// forwardTopic looks whether the topic of a channel that we were forwarded to names the one that we asked for.
func (s *session) forwardTopic(name, topic string) {
	name = s.c.casemap.fold(name)
	if r := s.forwards[name]; r != nil && s.namesChannel(topic, r.ID) {
		s.stayed[name] = true
	}
}

// endForward decides, at the end of what the server tells about a channel that we were forwarded to.
func (s *session) endForward(name string) {
	folded := s.c.casemap.fold(name)
	r := s.forwards[folded]
	if r == nil {
		return
	}
	follow := s.stayed[folded]
	delete(s.forwards, folded)
	delete(s.stayed, folded)
	if r.state == roomIn || !slices.Contains(s.c.list, r) {
		s.part(name)
		return
	}
	if !follow {
		s.part(name)
		s.leave(r, s.c.side.timings.forwarded, fmt.Errorf("the channel was replaced by %s, which does not name it in its topic: change the configuration", cleanReason(name)))
		return
	}
	r.rename(name)
	s.c.index()
	s.c.side.deps.Log.Warn("the channel forwards to another one, which names it in its topic; we are there instead", "room", r.ID, "in", cleanReason(name))
	s.entered(r, s.lastHeard)
	s.pace.pushFirst(&line{text: "NAMES " + name}) // the first list was nobody's
}

// namesChannel reports whether a topic holds a channel's name as a word.
func (s *session) namesChannel(topic, channel string) bool {
	channel = s.c.casemap.fold(channel)
	for word := range strings.FieldsSeq(stripFormat(topic)) {
		word = s.c.casemap.fold(strings.TrimFunc(word, func(r rune) bool { return r != '#' && r != '&' && unicode.IsPunct(r) }))
		if word == channel {
			return true
		}
	}
	return false
}
