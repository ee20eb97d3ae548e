package gateway

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	commandWho  = "who"
	commandHelp = "help"
	// commandMark is what a command begins with in a room, where it must not be taken for a word.
	commandMark = "!"
	// commandPause is how long a room gets no second answer to the same command.
	commandPause = time.Minute
	// maxListed is how many people of a network are named.
	maxListed = 30
)

// commandKey is what a room was answered lately.
type commandKey struct {
	room    Address
	command string
}

// command notes a command that was said in a room. It crosses like any message, and is answered in that room alone, once
// the batch is committed: who is there is for the sides to say, which may be about to commit something themselves.
func (a *acceptance) command(h heard) {
	m, ok := h.event.Body.(Message)
	if !ok || h.old || h.event.own || h.event.Sender.IsZero() || len(m.Files) > 0 {
		return
	}
	if _, bridged := a.router.bridges[h.event.At]; !bridged {
		return
	}
	for _, known := range []string{commandWho, commandHelp} {
		if key := (commandKey{h.event.At, known}); m.Text.Plain == commandMark+known && a.may(key, commandPause) {
			a.commands = append(a.commands, key)
		}
	}
}

// answer says the answers to commands in their rooms.
func (in *inbox) answer(ctx context.Context, commands []commandKey) {
	for _, c := range commands {
		text := in.g.Answer(ctx, c.room, c.command)
		b, bridged := in.g.router.Load().bridges[c.room]
		if text == "" || !bridged {
			continue
		}
		err := in.g.journal.Do(ctx, in.network, func(ctx context.Context) error {
			id, err := NewID(in.g.rand)
			if err != nil {
				return err
			}
			to := []Queue{{Room: c.room, Seal: b.seals(c.room.Network)}}
			if err := in.g.mintKeys(to); err != nil {
				return err
			}
			ev := &Event{ID: id, At: c.room, Time: in.g.now(), own: true, Body: Message{Style: StyleNotice, Text: Text{Plain: text}}}
			return in.g.journal.Append(ctx, []Entry{{Event: ev, Deliveries: to}})
		})
		if err != nil {
			in.g.log.Warn("cannot answer a command", "network", in.network, "room", c.room.ID, "command", c.command, "err", err)
		}
	}
}

// Answer is Deps.Answer: what there is to say to a command about the room at.
func (g *Gateway) Answer(_ context.Context, at Address, command string) string {
	b, bridged := g.router.Load().bridges[at]
	switch strings.TrimPrefix(strings.ToLower(strings.TrimSpace(command)), commandMark) {
	case commandWho:
		if !bridged {
			return "That is no room that I join with others."
		}
		return g.who(b, at)
	case commandHelp:
		if !bridged {
			return "I join rooms of several chat networks: what is said in one is said in the others. In such a room, !who lists the people on the other sides."
		}
		return help(b, at)
	}
	return ""
}

// help says what a room is joined with.
func help(b *Bridge, at Address) string {
	var rooms []string
	for _, network := range slices.Sorted(maps.Keys(b.Rooms)) {
		if network != at.Network {
			rooms = append(rooms, CleanName(b.Rooms[network].ID)+" on "+network)
		}
	}
	return fmt.Sprintf("This room is joined with %s: what is said here is said there as well. !who lists the people there.", strings.Join(rooms, " and "))
}

// who says who is in the other rooms of a bridge.
func (g *Gateway) who(b *Bridge, at Address) string {
	var parts []string
	for _, network := range slices.Sorted(maps.Keys(b.Rooms)) {
		if network == at.Network {
			continue
		}
		side, here := g.sides[network]
		roster, knows := side.(Roster)
		var people []Person
		if knows {
			people = roster.Here(Address{network, b.Rooms[network].ID})
		}
		switch {
		case !here:
			parts = append(parts, network+": looked after by another process.")
		case people == nil:
			parts = append(parts, network+": not known just now.")
		default:
			parts = append(parts, fmt.Sprintf("On %s: %s.", network, list(people)))
		}
	}
	return strings.Join(parts, " ")
}

// list names people: "alice, bob, … (12)".
func list(people []Person) string {
	if len(people) == 0 {
		return "nobody"
	}
	people = slices.Clone(people)
	slices.SortStableFunc(people, func(p, q Person) int { return cmp.Compare(strings.ToLower(p.Label()), strings.ToLower(q.Label())) })
	var names []string
	for _, p := range people[:min(len(people), maxListed)] {
		names = append(names, CleanName(p.Label()))
	}
	if len(people) > maxListed {
		names = append(names, "…")
	}
	return fmt.Sprintf("%s (%d)", strings.Join(names, ", "), len(people))
}
