package xmppside

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

// BenchmarkFiftyPuppets reads a message that is sealed for the gateway and 50 puppets of a room: the first of a client,
// which begins a session with each, then a stretch of later ones, in which the puppets' ratchets move now and then.
func BenchmarkFiftyPuppets(b *testing.B) {
	w := newWorld(b, nil, omemo.Legacy)
	r, owns := w.side.room0(), []string{fakeSelf}
	for i := range 50 {
		person := gateway.Person{Network: "matrix", ID: fmt.Sprintf("@p%d:test", i)}
		p, err := w.side.editPuppet(b.Context(), person, func(ctx context.Context, p *puppet) error {
			p.Rooms[r.jid] = stay{Nick: person.ID}
			return w.side.ensureDevice(ctx, p)
		})
		must(b, err)
		owns = append(owns, p.JID)
	}
	read := func(stanza []byte) {
		m, err := parseMessage(stanza)
		must(b, err)
		batch := &batch{}
		w.side.readRoom(w.side.currentLink(), r, m, w.clock.now(), batch)
		inbox := sidetest.NewInbox(w.own)
		must(b, inbox.Accept(b.Context(), batch.arrivals))
		if len(inbox.Heard()) != 1 || len(inbox.Unread()) > 0 {
			b.Fatalf("heard %v, unreadable %v", inbox.Heard(), inbox.Unread())
		}
	}
	wrap := func(d *device, text string) []byte {
		open := "<message xmlns='" + nsComponent + "' type='groupchat' id='" + text + "' from='" + fakeRoom + "/Juliet' to='" + fakeSelf + "/" + resource + "'>"
		return slices.Concat([]byte(open), d.seal(w.side, omemo.Legacy, []byte(text), owns...).raw, []byte("</message>"))
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			d := newDevice(b, w.fakeServer, "juliet@test", omemo.Legacy)
			stanza := wrap(d, "first")
			b.StartTimer()
			read(stanza)
		}
	})
	// A client that has been answered by all wraps nothing any more.
	d := newDevice(b, w.fakeServer, "juliet@test", omemo.Legacy)
	read(wrap(d, "hello"))
	for _, own := range owns {
		var msg *omemo.Message
		must(b, w.own.Update(b.Context(), func(ctx context.Context) (err error) {
			msg, err = w.side.omemo.SealEmpty(ctx, omemo.Legacy, own, omemo.Address{JID: d.jid, Device: d.ID}, nil)
			return err
		}))
		d.do(func(ctx context.Context) error { _, err := d.keys.Open(ctx, d.jid, []string{own}, msg); return err })
	}
	b.Run("each of 256", func(b *testing.B) {
		n := 0
		for b.Loop() {
			b.StopTimer()
			stanzas := make([][]byte, everyNth)
			for i := range stanzas {
				n++
				stanzas[i] = wrap(d, fmt.Sprint(n))
			}
			b.StartTimer()
			for _, stanza := range stanzas {
				read(stanza)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*everyNth), "us/message")
	})
	b.Run("all each time", func(b *testing.B) { // what it would cost to move each ratchet with each message
		n := 0
		for b.Loop() {
			b.StopTimer()
			n++
			stanza := wrap(d, fmt.Sprint("all", n))
			clear(r.sealedBy)
			b.StartTimer()
			read(stanza)
		}
	})
}
