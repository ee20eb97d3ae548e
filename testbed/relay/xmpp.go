package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strings"
)

// splitter cuts an XMPP stream into its children. Prosody escapes > in attributes, so that a tag ends at the first one.
type splitter struct{ depth int }

func (s *splitter) cut(stream []byte) (frame []byte, n int) {
	depth := s.depth
	for at := 0; ; {
		open := bytes.IndexByte(stream[at:], '<')
		if open < 0 {
			return nil, 0
		}
		end := bytes.IndexByte(stream[at+open:], '>')
		if end < 0 {
			return nil, 0
		}
		tag := stream[at+open : at+open+end+1]
		at += open + end + 1
		switch {
		case tag[1] == '?':
			continue
		case tag[1] == '/':
			depth--
		case tag[len(tag)-2] != '/':
			depth++
		}
		if s.depth == 0 { // the stream's own start
			s.depth = depth
			return nil, at
		}
		if depth <= s.depth {
			return stream[:at], at
		}
	}
}

// xmppPeer is a peer with an account.
type xmppPeer struct {
	*peer
	jid  string // bare
	room string
	ids  int
}

// joinXMPP registers an account, logs in and enters a room.
func joinXMPP(ctx context.Context, addr, host, name, room string) (*xmppPeer, error) {
	p, err := dial(ctx, name+" (XMPP)", addr)
	if err != nil {
		return nil, err
	}
	x := &xmppPeer{peer: p, jid: name + "@" + host, room: room + "@conference." + host}
	split := &splitter{}
	p.cut = split.cut
	p.say = func(dst []byte, text string) []byte {
		return fmt.Appendf(dst, "<message to='%s' type='groupchat'><body>%s</body></message>", x.room, text)
	}
	go p.read()
	if err := x.login(ctx, host, name, split); err != nil {
		p.close()
		return nil, err
	}
	return x, nil
}

func (x *xmppPeer) login(ctx context.Context, host, name string, split *splitter) error {
	open := fmt.Sprintf("<?xml version='1.0'?><stream:stream to='%s' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", host)
	features := func(frame []byte) bool { return bytes.HasPrefix(frame, []byte("<stream:features")) }
	if _, err := x.ask(ctx, "stream", open, features); err != nil {
		return err
	}
	if _, err := x.iq(ctx, "set", "", fmt.Sprintf("<query xmlns='jabber:iq:register'><username>%s</username><password>%s</password></query>", name, name)); err != nil {
		return err
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + name + "\x00" + name))
	answer, err := x.ask(ctx, "SASL", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"+plain+"</auth>", func(frame []byte) bool {
		if bytes.HasPrefix(frame, []byte("<success")) {
			split.depth = 0 // the stream begins anew
			return true
		}
		return bytes.HasPrefix(frame, []byte("<failure"))
	})
	if err != nil {
		return err
	}
	if bytes.HasPrefix(answer, []byte("<failure")) {
		return fmt.Errorf("%s: log in: %w: %s", x.name, errRefused, answer)
	}
	if _, err := x.ask(ctx, "stream", open, features); err != nil {
		return err
	}
	if _, err := x.iq(ctx, "set", "", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>load</resource></bind>"); err != nil {
		return err
	}
	enter := fmt.Sprintf("<presence to='%s/%s'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>", x.room, name)
	_, err = x.ask(ctx, "room", enter, func(frame []byte) bool { return bytes.Contains(frame, []byte("code='110'")) })
	return err
}

// iq asks and returns the answer, which is not an error.
func (x *xmppPeer) iq(ctx context.Context, kind, to, payload string) ([]byte, error) {
	x.ids++
	id := fmt.Sprintf("q%d", x.ids)
	if to != "" {
		to = " to='" + to + "'"
	}
	answer, err := x.ask(ctx, "iq", fmt.Sprintf("<iq type='%s' id='%s'%s>%s</iq>", kind, id, to, payload), func(frame []byte) bool {
		return bytes.HasPrefix(frame, []byte("<iq")) && bytes.Contains(frame, []byte("id='"+id+"'"))
	})
	if err == nil && bytes.Contains(answer, []byte("type='error'")) {
		err = fmt.Errorf("%s: %w: %s", x.name, errRefused, answer)
	}
	return answer, err
}

// closeRoom makes the room one for sealed messages: members-only and non-anonymous. The gateway is one of its admins.
func (x *xmppPeer) closeRoom(ctx context.Context, gateway string) error {
	var fields strings.Builder
	for _, f := range [][2]string{{"FORM_TYPE", "http://jabber.org/protocol/muc#roomconfig"}, {"muc#roomconfig_membersonly", "1"}, {"muc#roomconfig_whois", "anyone"}} {
		fmt.Fprintf(&fields, "<field var='%s'><value>%s</value></field>", f[0], f[1])
	}
	form := "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>" + fields.String() + "</x></query>"
	if _, err := x.iq(ctx, "set", x.room, form); err != nil {
		return err
	}
	admin := fmt.Sprintf("<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='admin' jid='%s'/></query>", gateway)
	_, err := x.iq(ctx, "set", x.room, admin)
	return err
}

// publish puts an item on a node of ours that everybody may read.
func (x *xmppPeer) publish(ctx context.Context, node, item string) error {
	_, err := x.iq(ctx, "set", "", fmt.Sprintf("<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='%s'><item id='current'>%s</item></publish>"+
		"<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>"+
		"<field var='pubsub#access_model'><value>open</value></field></x></publish-options></pubsub>", node, item))
	return err
}
