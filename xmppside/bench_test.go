package xmppside

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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
		m, err := parseMessage(stanza, nil)
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

// reader is an inbox that reads and keeps nothing, and tells how much it has read.
type reader struct {
	state *sidetest.State
	got   chan int
}

func (r reader) Accept(ctx context.Context, batch []gateway.Arrival) error {
	n := 0
	for _, a := range batch {
		ev, err := a.Read(ctx)
		if err == nil && ev != nil {
			n++
		}
	}
	r.got <- n
	return nil
}

// benchSide runs a side in the fake room.
func benchSide(b *testing.B, puppets gateway.Puppets) (*fakeServer, *Side, reader) {
	f := newFakeServer(b)
	state := sidetest.NewState()
	in := reader{state, make(chan int, 1<<20)}
	side, err := New(f.config(), gateway.Deps{Network: "xmpp", State: state, Rooms: []gateway.Room{fakeBridgeRoom(false, puppets)}, Log: slog.New(slog.DiscardHandler)})
	must(b, err)
	run(b, side, in)
	must(b, side.room0().await(b.Context(), func() bool { return side.room0().ready }))
	return f, side, in
}

// BenchmarkHear is what it costs to hear what is said in a room, up to the journal.
func BenchmarkHear(b *testing.B) {
	f, _, in := benchSide(b, gateway.PuppetsNone)
	var raw strings.Builder
	const n = 1000
	for i := range n {
		fmt.Fprintf(&raw, "<message to='%s/%s' from='%s/Juliet' type='groupchat' xml:lang='en' id='%016d'><body>number %d, and some words that make it as long as people write, about a hundred bytes</body>"+
			"<origin-id xmlns='urn:xmpp:sid:0' id='%016d'/><occupant-id xmlns='urn:xmpp:occupant-id:0' id='n5F0iZ5b4Wc1wPgVvJrM0dHqV2Kk3OqVQx9yB1aQ8sU='/><stanza-id xmlns='urn:xmpp:sid:0' by='%s' id='a%015d'/></message>",
			fakeSelf, resource, fakeRoom, i, i, i, fakeRoom, i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		f.raw(raw.String())
		for got := 0; got < n; {
			got += <-in.got
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/message")
}

// BenchmarkSay is what it costs to say a run in a room and to hear that the room reflects it. The room is part of it.
func BenchmarkSay(b *testing.B) {
	_, side, _ := benchSide(b, gateway.PuppetsActive)
	const n = 64
	key := 0
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		run := make([]gateway.Delivery, n)
		for i := range run {
			key++
			run[i] = delivery(fmt.Sprintf("%032x", key), "some words that make it as long as people write, about a hundred bytes", false)
		}
		for _, o := range side.Deliver(b.Context(), run) {
			must(b, o.Err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/message")
}
