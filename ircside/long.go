package ircside

import (
	"context"
	"fmt"
	"strings"

	"lockbridge/gateway"
)

// A text of many lines is cut, and so is what one person says at a stretch: the rest stands behind a link, where the
// gateway has a route for that.

// brief is a delivery as it is said.
type brief struct {
	gateway.Delivery
	in   int    // the delivery of the run whose lines tell of it: itself, as a rule
	link string // where the whole of a text that is cut can be read; may be empty
}

// roughLine is how long a line is, about, in bytes.
const roughLine = 200

// shorten finds what of a run is too long, and makes links for it. It is done outside the connection's mutex, as a link
// takes a look into the database.
func (s *Side) shorten(ctx context.Context, c *conn, run []gateway.Delivery) []brief {
	out := make([]brief, len(run))
	all, longest := 0, 0 // lines, about
	for i, d := range run {
		out[i] = brief{Delivery: d, in: i}
		if m, ok := d.Event.Body.(gateway.Message); ok {
			lines := 1 + strings.Count(m.Text.Plain, "\n") + len(m.Text.Plain)/roughLine
			all, longest = all+lines, max(longest, lines)
		}
	}
	_, _, chat := run[0].Room.Direct()
	paced := s.cfg.Pace.Every > 0 && !chat // without a pace nobody holds anybody up, nor does who talks in private
	if s.deps.Media == nil || !paced && longest <= s.cfg.MaxLines {
		return out
	}
	lengths := c.measure(run)
	if lengths == nil {
		return out
	}
	if paced {
		surplus := c.surplus(run, lengths, 2*s.cfg.MaxLines)
		if all > s.cfg.MaxLines { // else nobody waits longer than for one message
			s.gatherSurplus(ctx, out, lengths, surplus)
		}
	}
	for i := range out {
		if m, ok := out[i].Event.Body.(gateway.Message); ok && out[i].in == i && lengths[i].more > 0 {
			out[i].link = s.paste(ctx, out[i:i+1], "/text", m.Text.Flat())
		}
	}
	return out
}

// length is how many lines a message takes, and how many it would take besides.
type length struct{ lines, more int }

// measure tells how long the messages of a run are that nobody has tried to say; nil: nothing can be said now.
func (c *conn) measure(run []gateway.Delivery) []length {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hindrance(run[0]) != nil {
		return nil
	}
	out := make([]length, len(run))
	for i, d := range run {
		if _, ok := d.Event.Body.(gateway.Message); !ok || d.Attempt > 0 || len(d.Known) > 0 || c.said[d.Key] != nil {
			continue
		}
		said, err := encode(d, c.side.deps.Direct, c.limits(d))
		if err != nil {
			continue
		}
		for _, l := range said.lines {
			out[i].lines += l.cost()
		}
		out[i].more = said.more
	}
	return out
}

// surplus finds who says more than limit lines at a stretch, and which deliveries of the run are too much.
func (c *conn) surplus(run []gateway.Delivery, lengths []length, limit int) map[gateway.Person][]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out, now := map[gateway.Person][]int{}, c.side.clock.now()
	for i, d := range run {
		m, ok := d.Event.Body.(gateway.Message)
		if !ok || lengths[i].lines == 0 || d.Event.Sender.IsZero() || m.Note {
			continue
		}
		if c.exceeds(d, lengths[i].lines, limit, now) {
			who := gateway.Person{Network: d.Event.Sender.Network, ID: d.Event.Sender.ID}
			out[who] = append(out[who], i)
		}
	}
	return out
}

// gatherSurplus makes one line of what each person says beyond what they may. Nobody is overtaken by that, and it holds
// nobody up.
func (s *Side) gatherSurplus(ctx context.Context, run []brief, lengths []length, surplus map[gateway.Person][]int) {
	for _, of := range surplus {
		if len(of) < 2 {
			continue
		}
		var text strings.Builder
		all := make([]brief, 0, len(of))
		for _, i := range of {
			if m, ok := run[i].Event.Body.(gateway.Message); ok {
				text.WriteString("<" + nameOf(run[i].Event.Sender) + "> " + m.Text.Flat() + "\n")
			}
			all = append(all, run[i])
		}
		link := s.paste(ctx, all, "/more", text.String())
		if link == "" {
			continue
		}
		ev := *run[of[0]].Event
		ev.Body = gateway.Message{Text: gateway.Text{Plain: fmt.Sprintf("… (%d more messages: %s)", len(of), link)}}
		for _, i := range of {
			run[i].in, lengths[i] = of[0], length{}
		}
		run[of[0]].Event = &ev
	}
}

// paste returns a link to a text that is made of some messages; "" if there is none to be had.
func (s *Side) paste(ctx context.Context, of []brief, kind, text string) string {
	from := gateway.Origin{Key: of[0].Key + kind}
	for _, d := range of {
		from.Events = append(from.Events, d.Event.ID)
	}
	link, err := s.deps.Media.Paste(ctx, from, "message.txt", text)
	if err != nil {
		s.deps.Log.Warn("a long text gets no link", "event", from.Events[0], "error", err)
		return ""
	}
	return link
}
