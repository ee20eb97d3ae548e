package xmppside

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"lockbridge/gateway"
)

// compose makes what a job says, outside of any transaction: files are uploaded here, before a part of the job is said.
// sealed tells whether it is to be sealed. An error is one of the whole run; what is wrong with the job stands in it.
func (s *Side) compose(ctx context.Context, l *link, meant audience, j *job, sealed bool) error {
	how := meant.phrasing(s, j)
	switch b := j.Event.Body.(type) {
	case gateway.Message:
		return s.composeMessage(ctx, l, j, b, how, sealed)
	case gateway.Edit:
		if id := meant.idOfOurs(b.Target.Parts); id != "" {
			j.say(encodeEdit(b, id, how))
			return nil
		}
		j.err = gateway.Plainer(errNotOurs)
	case gateway.Retract:
		if says := meant.retractions(b.Target.Parts); len(says) > 0 {
			j.say(says...)
			return nil
		}
		j.err = gateway.Plainer(errNotOurs)
	case gateway.Reaction:
		id := meant.idOf(b.Target.Parts)
		if id == "" {
			j.err = gateway.Plainer(errors.New("the room has no id for what is reacted to"))
			return nil
		}
		j.say(encodeReactions(id, s.reactionsOf(meant, j, b)))
	default:
		j.err = gateway.Dropf("XMPP cannot show this")
	}
	return nil
}

// errNotOurs: what is to be changed was not said by an occupant that is still ours.
var errNotOurs = errors.New("whoever said it for us cannot change it any more")

func (s *Side) composeMessage(ctx context.Context, l *link, j *job, b gateway.Message, how phrasing, sealed bool) error {
	var says []utterance
	if b.Text.Plain == "" && j.voice.prefix != "" { // or nobody saw whose files they are
		b.Text = gateway.Text{Plain: namesOf(b.Files)}
	}
	if b.Text.Plain != "" || len(b.Files) == 0 {
		says = append(says, encodeMessage(b, how))
	}
	files, err := s.share(ctx, l, j.voice.jid, b.Files, sealed)
	if err = s.bear(ctx, j.Key, err); err != nil {
		j.err = err
		return ctx.Err()
	}
	for i, f := range files {
		says = append(says, encodeFile(f, filePart(i+1)))
	}
	j.say(says...)
	return nil
}

func namesOf(files []gateway.File) string {
	var names []string
	for _, f := range files {
		names = append(names, gateway.CleanName(f.Name))
	}
	return strings.Join(names, ", ")
}

// phrasing is how a job is put there.
func (a audience) phrasing(s *Side, j *job) phrasing {
	how := phrasing{prefix: j.voice.prefix, metadata: a.metadata}
	if a.room != nil {
		how.named = a.room.called
	}
	var replyTo, thread gateway.Ref
	switch b := j.Event.Body.(type) {
	case gateway.Message:
		replyTo, thread = b.ReplyTo, b.Thread
	case gateway.Edit: // a correction stands for the whole message
		replyTo, thread = b.ReplyTo, b.Thread
	}
	if !replyTo.IsZero() {
		how.answers = answered{id: a.idOf(replyTo.Parts), name: gateway.CleanName(replyTo.Author.Label()), text: replyTo.Excerpt}
		if nick, _ := a.called(replyTo.Author); nick != "" {
			how.answers.name, how.answers.to = nick, a.jid+"/"+nick
		} else if p, ours := s.people.of(replyTo.Author); a.room == nil && ours {
			how.answers.to = p.JID
		} else if a.room == nil {
			how.answers.to = a.jid
		}
	}
	if !thread.IsZero() && a.room != nil {
		how.thread = thread.ID.String()
		for _, p := range thread.Parts {
			if name, ok := strings.CutPrefix(p.Native, gateway.ThreadNative("")); ok && p.Name == gateway.ThreadPart {
				how.thread = name
			}
		}
	}
	return how
}

func (a audience) called(who gateway.Person) (nick, uri string) {
	if a.room == nil {
		return "", ""
	}
	return a.room.called(who)
}

// called is the nick of a person of any network in the room, with the URI of that occupant; "" if they are not there.
func (r *room) called(who gateway.Person) (nick, uri string) {
	if who.Network == r.side.deps.Network {
		nick, _ = r.nickOf(who)
	} else if p, known := r.side.people.of(who); known {
		nick = r.nickIn(p.JID)
	}
	if nick == "" {
		return "", ""
	}
	return nick, "xmpp:" + r.jid + "/" + url.PathEscape(nick)
}

// isStanzaID reports whether a native id is one that a room gave, and not one of the kinds that we make.
func isStanzaID(native string) bool {
	return native != "" && !slices.ContainsFunc([]string{kindHash, kindID, kindDirect, kindBounce, kindSealed, kindStay, voiceKind, gateway.ThreadNative("")}, func(kind string) bool {
		return strings.HasPrefix(native, kind)
	})
}

// idOf is the id by which a message there is named in a reply or a reaction: the one that the room gave it; in a direct
// chat its sender's. "": it has none.
func (a audience) idOf(parts []gateway.Part) string {
	if len(parts) == 0 {
		return ""
	}
	p := parts[0]
	if isStanzaID(p.Native) {
		return p.Native
	}
	if a.room != nil {
		return ""
	}
	id := ""
	for _, alias := range p.Also { // the id attribute and, if it is another one, the origin-id, which is rather known
		if _, chosen, ok := strings.Cut(alias, "\x1f"); ok && (strings.HasPrefix(alias, kindID) || strings.HasPrefix(alias, kindSealed)) {
			id = chosen
		}
	}
	return id
}

// idOfOurs is the id attribute of the text that one of ours said there.
func (a audience) idOfOurs(parts []gateway.Part) string {
	for _, p := range parts {
		if p.Name != "" {
			continue
		}
		if _, id, ok := voiceOf(p); ok {
			return id
		}
		if _, _, ours := parseOriginID(p.Native); ours && a.room == nil {
			return p.Native
		}
	}
	return ""
}

// retractions take back all parts of a message that ours said there.
func (a audience) retractions(parts []gateway.Part) (out []utterance) {
	for _, p := range parts {
		jid, _, ours := voiceOf(p)
		if a.room == nil {
			_, _, ours = parseOriginID(p.Native)
		}
		if !ours || !isStanzaID(p.Native) || len(out) == maxParts {
			continue
		}
		name := ""
		if len(out) > 0 {
			name = filePart(len(out))
		}
		u := encodeRetract(p.Native, name)
		u.by = jid
		out = append(out, u)
	}
	return out
}

// reactionsOf are the reactions that a voice shows on a message. The gateway speaks for several people: it shows those of
// all for whom nobody else does.
func (s *Side) reactionsOf(meant audience, j *job, b gateway.Reaction) []string {
	if meant.room == nil || j.voice.jid != s.self {
		return b.Emoji
	}
	var out []string
	add := func(emoji []string) {
		for _, e := range emoji {
			if !slices.Contains(out, e) && len(out) < maxUnion {
				out = append(out, e)
			}
		}
	}
	add(b.Emoji)
	for _, set := range b.Sets {
		p, known := s.people.of(set.Who)
		if set.Who.Network != s.deps.Network && set.Anchor != b.Anchor && (!known || meant.room.nickIn(p.JID) == "") {
			add(set.Emoji)
		}
	}
	return out
}

// maxUnion is how many reactions the gateway shows on a message.
const maxUnion = 64

// voiceOfJob is who says a job. A message may be changed only by who said it, so its voice changes it, even where the
// person has another one by now; if that has gone, the change is told in words.
func (s *Side) voiceOfJob(ctx context.Context, l *link, r *room, j *job) (voice, error) {
	var target gateway.Ref
	switch b := j.Event.Body.(type) {
	case gateway.Edit:
		target = b.Target
	case gateway.Retract:
		target = b.Target
	default:
		return s.voiceFor(ctx, l, r, j.Event.Sender)
	}
	var first voice
	for _, part := range target.Parts {
		jid, _, ok := voiceOf(part)
		if !ok {
			continue
		}
		v, err := s.voiceAt(ctx, l, r, jid, j.Event.Sender)
		if err != nil {
			return voice{}, err
		}
		if first.jid == "" {
			first = v
		}
	}
	if first.jid == "" {
		return voice{}, gateway.Plainer(errNotOurs)
	}
	return first, nil
}

// voiceAt is the voice of one of our addresses, as long as it belongs to the room.
func (s *Side) voiceAt(ctx context.Context, l *link, r *room, jid string, sender gateway.Person) (voice, error) {
	if jid == s.self {
		v := voice{jid: jid}
		if !sender.IsZero() {
			v.prefix = gateway.CleanName(sender.Label())
		}
		return v, nil
	}
	p, ours := s.people.ofJID(jid)
	if _, belongs := p.Rooms[r.jid]; !ours || !belongs {
		return voice{}, gateway.Plainer(errNotOurs)
	}
	v, err := s.voiceFor(ctx, l, r, p.Person)
	if err == nil && v.jid != jid {
		err = gateway.Plainer(errNotOurs)
	}
	return v, err
}
