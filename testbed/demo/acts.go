package main

import (
	"context"
	"errors"

	"lockbridge/testbed/peers"
)

// acts has people do what they do to what was said: correct, answer, react, share a file, take back.
func acts(ctx context.Context, s *peers.Scene, note func(way string, sealed bool, err error)) {
	const first, second, answer, answered = "It is the yeast", "It is the east, and Juliet is the sun", "Ay me!", "She speaks"
	said, err := s.Matrix.Say(ctx, s.MatrixRoom, first)
	var onXMPP peers.XMPPEvent
	err = errors.Join(err, within(ctx, func(ctx context.Context) (err error) {
		onXMPP, err = s.Owner.AwaitSealed(ctx, s.Room, first)
		return err
	}))
	_, failed := s.Matrix.Edit(ctx, s.MatrixRoom, said, second)
	note("a correction, Matrix → XMPP", true, errors.Join(err, failed, within(ctx, func(ctx context.Context) error {
		e, err := s.Owner.AwaitSealed(ctx, s.Room, second)
		if replace, there := e.Element(peers.NSReplace, "replace"); err == nil && (!there || replace.Attr("id") != onXMPP.ID) {
			return errors.New("it came as another message")
		}
		return err
	})))
	note("a correction, Matrix → IRC", false, within(ctx, func(ctx context.Context) error { return onIRC(ctx, s, "(edited)") }))

	_, err = s.Owner.SendSealed(ctx, s.Room, peers.Words{Text: "> " + second + "\n" + answer, Beside: peers.Reply(onXMPP.From, onXMPP.StanzaID, len("> "+second+"\n"))})
	note("an answer, XMPP → Matrix", true, errors.Join(err, within(ctx, func(ctx context.Context) error {
		e, err := s.Matrix.AwaitText(ctx, s.MatrixRoom, answer)
		if err == nil && e.Value("m.relates_to", "m.in_reply_to", "event_id") != said {
			return errors.New("it came as another message")
		}
		return err
	})))
	_, err = s.Owner.Send(ctx, s.Room, peers.Words{Beside: []string{peers.React(onXMPP.StanzaID, "☀️")}})
	note("a reaction, XMPP → Matrix", false, errors.Join(err, within(ctx, func(ctx context.Context) error {
		_, err := s.Matrix.AwaitReaction(ctx, 0, s.MatrixRoom, said, "☀️")
		return err
	})))

	_, err = s.Matrix.SendFile(ctx, s.MatrixRoom, peers.MatrixFile{Content: peers.Content{Name: "sun.png", MIME: "image/png", Data: peers.PNG(64), Caption: answered}})
	note("a file, Matrix → XMPP", true, errors.Join(err, within(ctx, func(ctx context.Context) error {
		_, err := s.Owner.AwaitSealed(ctx, s.Room, "aesgcm://")
		return err
	})))
	note("a file, Matrix → IRC, as a link", false, within(ctx, func(ctx context.Context) error { return onIRC(ctx, s, "[sun.png") }))

	err = s.Matrix.Redact(ctx, s.MatrixRoom, said, "")
	note("taken back, Matrix → XMPP", false, errors.Join(err, within(ctx, func(ctx context.Context) error {
		_, err := s.Owner.AwaitElement(ctx, 0, s.Room, peers.NSRetract, "retract", func(r peers.Element) bool { return r.Attr("id") == onXMPP.StanzaID })
		return err
	})))
	note("taken back, Matrix → IRC, as a note", false, within(ctx, func(ctx context.Context) error { return onIRC(ctx, s, "deleted a message") }))
}

func onIRC(ctx context.Context, s *peers.Scene, text string) error {
	_, err := s.IRC.AwaitText(ctx, s.Channel, text)
	return err
}
