package xmppside

import (
	"context"
	"strings"

	"lockbridge/gateway"
)

// compose makes what a job says, outside of any transaction: files are uploaded here, before a part of the job is said.
// sealed tells whether it is to be sealed. An error is one of the whole run; what is wrong with the job stands in it.
func (s *Side) compose(ctx context.Context, l *link, j *job, sealed bool) error {
	b, ok := j.Event.Body.(gateway.Message)
	if !ok {
		j.err = gateway.Dropf("XMPP cannot show this")
		return nil
	}
	var says []utterance
	if b.Text.Plain == "" && j.voice.prefix != "" { // or nobody saw whose files they are
		b.Text = gateway.Text{Plain: namesOf(b.Files)}
	}
	if b.Text.Plain != "" || len(b.Files) == 0 {
		says = append(says, encodeMessage(b, phrasing{prefix: j.voice.prefix}))
	}
	files, err := s.share(ctx, l, j.voice.jid, b.Files, sealed)
	if err != nil {
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

// encodeFile makes the stanza of a file.
func encodeFile(f shared, part string) utterance {
	return utterance{
		name: part, plain: append([]*node{el("", "body").say(f.body())}, f.beside()...), legacy: f.body(),
		two: append([]*node{el(nsClient, "body").say(f.body())}, f.within()...),
	}
}
