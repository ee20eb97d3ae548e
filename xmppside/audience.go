package xmppside

import (
	"log/slog"

	"lockbridge/gateway"
)

// audience is whom messages are meant for: the members of a room, or one person.
type audience struct {
	jid  string // bare: the room's or the person's
	to   string // where messages go; of a person also their occupant in a room
	room *room  // nil for a person
	log  *slog.Logger
	// metadata: what the legacy version cannot seal may stand beside it.
	metadata bool
	// asks: clients are asked to tell when a message was read.
	asks bool
}

func (r *room) audience() audience {
	return audience{jid: r.jid, to: r.jid, room: r, log: r.log, metadata: r.conf().KeepMetadata, asks: r.believes() && r.side.wantsMarkers(false)}
}

// people are those to seal for, by their real bare JIDs.
func (a audience) people() []string {
	if a.room != nil {
		return a.room.realMembers()
	}
	return []string{a.jid}
}

// nobody is who lacks something, for a reason that is told to the sender.
func (a audience) nobody() string {
	if a.room != nil {
		return "none of the room's members"
	}
	return "nobody of the address " + gateway.CleanName(a.jid)
}

// message makes the stanza of a part of a job.
func (a audience) message(j *job, p *part, content ...*node) *node {
	if a.asks && j.about == nil && !p.says.act {
		content = append(content, el(nsMarkers, "markable"))
	}
	if a.room != nil {
		return roomMessage(a.jid, j.by(p), p.id, content...)
	}
	if a.to == a.jid && j.about == nil && !p.says.act {
		content = append(content, el(nsReceipts, "request"))
	}
	return chatMessage(a.to, j.voice, p.id, content...)
}
