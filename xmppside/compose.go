package xmppside

import (
	"context"

	"lockbridge/gateway"
)

// compose makes what a job says, outside of any transaction: files are uploaded here, and what the room's server might
// refuse is tried, before a part of the job is said. sealed tells whether it is to be sealed. An error is one of the whole
// run; what is wrong with the job stands in it.
func (s *Side) compose(ctx context.Context, l *link, meant audience, j *job, sealed bool) error {
	b, ok := j.Event.Body.(gateway.Message)
	if !ok {
		j.err = gateway.Dropf("XMPP cannot show this")
		return nil
	}
	files, err := s.sayFiles(ctx, l, meant, j.voice.jid, b.Files, sealed)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		j.err = err
		return nil
	}
	text := encodeMessage(b, phrasing{prefix: j.voice.prefix})
	switch {
	case len(files) == 0:
		j.say(text)
	case b.Text.Plain == "" && j.voice.prefix == "":
		j.say(files...)
	default:
		j.say(append([]utterance{text}, files...)...)
	}
	return nil
}
