package ircside

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// patience is how long a test waits for what should happen at once: on a busy machine it does not.
const patience = time.Minute

// fake is an IRC server that says what a test tells it to.
type fake struct {
	t  *testing.T
	ln net.Listener
}

// link is one connection to the fake.
type link struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// rig is a side at work against a fake.
type rig struct {
	*fake
	side  *Side
	store *sidetest.State
	inbox *sidetest.Inbox
	ready chan error
	stop  func()
	log   *logBook
}

const labels = "batch echo-message labeled-response message-tags server-time"

func lobby() gateway.Room {
	return gateway.Room{Address: gateway.Address{Network: "net", ID: "#lobby"}, Bridge: "lobby"}
}

// direct allows direct chats with example.org.
func direct() gateway.Direct {
	return gateway.Direct{Allow: []string{"example.org"}, Encryption: gateway.EncryptionOff}.
		WithKinds(map[string]gateway.NetworkKind{"net": {Kind: "irc"}, "xmpp": {Kind: "xmpp", Encrypts: true}, "matrix": {Kind: "matrix"}})
}

// chat is the direct chat between a nick and somebody else.
func chat(nick string, remote gateway.Person) gateway.Address {
	return gateway.DirectAddress(gateway.Person{Network: "net", ID: nick}, remote)
}

// begin starts a side that shall connect to a new fake.
func begin(t *testing.T, change func(*Config, *Side), rooms ...gateway.Room) *rig {
	t.Helper()
	state := sidetest.NewState()
	return beginOn(t, state, sidetest.NewInbox(state), change, rooms...)
}

// beginAgain ends a rig and starts another side with what it left.
func (r *rig) beginAgain(change func(*Config, *Side)) *rig {
	r.t.Helper()
	r.stop()
	return beginOn(r.t, r.store, r.inbox, change, r.side.deps.Rooms...)
}

func beginOn(t *testing.T, state *sidetest.State, inbox *sidetest.Inbox, change func(*Config, *Side), rooms ...gateway.Room) *rig {
	t.Helper()
	before := goleak.IgnoreCurrent()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{fake: &fake{t, ln}, ready: make(chan error, 100), store: state, inbox: inbox, log: &logBook{}}
	cfg := defaults()
	cfg.Server, cfg.TLS, cfg.Nick, cfg.User = ln.Addr().String(), false, "lb", "lb"
	cfg.Pace = Pace{Burst: 100, Every: time.Millisecond}
	if change != nil {
		change(&cfg, nil)
	}
	if len(rooms) == 0 {
		rooms = []gateway.Room{lobby()}
	}
	r.side, err = New(cfg, gateway.Deps{Network: "net", Direct: direct(), Rooms: rooms, State: state, Log: slog.New(slog.NewTextHandler(r.log, nil)), Ready: func(err error) { r.ready <- err }})
	if err != nil {
		t.Fatal(err)
	}
	timings := &r.side.timings
	timings.retryLeast, timings.refused, timings.rejoin, timings.knock = time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond
	timings.mute, timings.throttle, timings.soon = 0, time.Millisecond, patience
	if change != nil {
		change(&cfg, r.side)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.side.Run(ctx, r.inbox) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
			ln.Close()
			leak := goleak.Find(before)
			for end := time.Now().Add(patience); leak != nil && time.Now().Before(end); {
				leak = goleak.Find(before) // what the test itself runs may still be ending
			}
			if leak != nil {
				t.Error(leak)
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

// accept waits for the side to connect.
func (f *fake) accept() *link {
	f.t.Helper()
	_ = f.ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	conn, err := f.ln.Accept()
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return &link{f.t, conn, bufio.NewReader(conn)}
}

// expect reads the next line, which must begin so, and returns what follows.
func (l *link) expect(begin string) string {
	l.t.Helper()
	_ = l.conn.SetDeadline(time.Now().Add(patience))
	text, err := l.in.ReadString('\n')
	for err == nil && strings.HasPrefix(text, "MODE #") && !strings.HasPrefix(begin, "MODE") { // asked for once in a channel
		text, err = l.in.ReadString('\n')
	}
	if err != nil {
		l.t.Fatalf("waiting for %q: %v", begin, err)
	}
	if len(text) > 512+4096 {
		l.t.Errorf("a line of %d bytes", len(text))
	}
	rest, ok := strings.CutPrefix(strings.TrimSuffix(text, "\r\n"), begin)
	if !ok {
		l.t.Fatalf("got %q, want %q", text, begin)
	}
	return rest
}

// send writes lines.
func (l *link) send(lines ...string) {
	l.t.Helper()
	_ = l.conn.SetDeadline(time.Now().Add(patience))
	if _, err := l.conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n")); err != nil {
		l.t.Fatal(err)
	}
}

// register plays the registration; caps are offered and granted. Without caps the server knows no CAP.
func (l *link) register(caps string) {
	l.t.Helper()
	l.expect("CAP LS 302")
	l.expect("NICK lb")
	l.expect("USER lb 0 * :Lockbridge")
	if caps != "" {
		l.send(":irc.test CAP * LS :" + caps)
		l.send(":irc.test CAP lb ACK :" + l.expect("CAP REQ :"))
		l.expect("CAP END")
	}
	l.send(":irc.test 001 lb :Welcome")
}

// join answers the JOIN of a channel.
func (l *link) join(channel string) {
	l.t.Helper()
	l.expect("JOIN " + channel)
	l.send(":lb!lb@host JOIN " + channel)
}

// echo reads a labelled line and answers with its echo; it returns the text.
func (l *link) echo(msgid string) string {
	l.t.Helper()
	label, command, _ := strings.Cut(l.expect("@label="), " ")
	l.send(fmt.Sprintf("@label=%s;msgid=%s :lb!lb@host %s", label, msgid, command))
	_, text, _ := strings.Cut(command, ":")
	return text
}

// up plays everything until the side is ready.
func (r *rig) up(caps string) *link {
	r.t.Helper()
	l := r.accept()
	l.register(caps)
	l.join("#lobby")
	r.isReady()
	return l
}

// state waits for the next word about readiness.
func (r *rig) state() error {
	r.t.Helper()
	select {
	case err := <-r.ready:
		return err
	case <-time.After(patience):
		r.t.Fatal("no word about readiness")
		return nil
	}
}

func (r *rig) isReady() {
	r.t.Helper()
	if err := r.state(); err != nil {
		r.t.Fatalf("not ready: %v", err)
	}
}

// await waits for an event.
func (r *rig) await(pred func(*gateway.Event) bool) *gateway.Event {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	ev, err := r.inbox.Await(ctx, "an event", pred)
	if err != nil {
		r.t.Fatal(err)
	}
	return ev
}

func (r *rig) awaitText(text string) *gateway.Event {
	r.t.Helper()
	return r.await(func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Message)
		return ok && m.Text.Plain == text
	})
}

// delivery is a message of juliet's with a key of its own.
func delivery(key, text string) gateway.Delivery {
	return gateway.Delivery{Key: key, Room: lobby().Address, Event: &gateway.Event{
		Sender: gateway.Person{Network: "xmpp", ID: "juliet@example.org", Name: "juliet"},
		Body:   gateway.Message{Text: gateway.Text{Plain: text}},
	}}
}

// deliver hands a run over in the background. Outcomes that leave nothing to tell are filled in with what the journal was
// told instead.
func (r *rig) deliver(run ...gateway.Delivery) <-chan []gateway.Outcome {
	done := make(chan []gateway.Outcome, 1)
	go func() {
		out := r.side.Deliver(r.t.Context(), run)
		for i := range out {
			if out[i].Ended {
				out[i].Parts = r.echoes(run[i].Key)
			}
		}
		done <- out
	}()
	return done
}

// echoes are the parts of a delivery that the journal knows, if it knows that they are all.
func (r *rig) echoes(key string) (parts []gateway.Part) {
	whole := false
	for _, ev := range r.inbox.Heard() {
		if e, ok := ev.Body.(gateway.Echo); ok && e.Key == key {
			parts, whole = append(parts, gateway.Part{Name: e.Part, Native: ev.Native}), e.Ends
		}
	}
	if !whole {
		return nil
	}
	return parts
}

// outcomes waits for what became of a run.
func (r *rig) outcomes(from <-chan []gateway.Outcome) []gateway.Outcome {
	r.t.Helper()
	select {
	case out := <-from:
		return out
	case <-time.After(patience):
		r.t.Fatal("Deliver does not end")
		return nil
	}
}

// said is how our relay shows juliet's text.
func said(text string) string { return "<j\u200culiet> " + text }

// logBook keeps what was logged.
type logBook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), text)
}

// handClock is a clock that a test moves.
type handClock struct {
	mu     sync.Mutex
	t      time.Time
	timers map[chan time.Time]time.Time
	asked  chan time.Duration // every wait that somebody begins
}

func newHandClock() *handClock {
	return &handClock{t: time.Unix(1e9, 0), timers: map[chan time.Time]time.Time{}, asked: make(chan time.Duration, 1000)}
}

func (c *handClock) clock() clock {
	return clock{
		now: func() time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.t
		},
		after: func(d time.Duration) <-chan time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.timer(c.t.Add(d))
		},
		until: func(at time.Time) <-chan time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.timer(at)
		},
	}
}

// timer makes a channel that tells when it is so late. The caller holds the mutex.
func (c *handClock) timer(at time.Time) <-chan time.Time {
	ch := make(chan time.Time, 1)
	c.timers[ch] = at
	c.ring()
	c.asked <- at.Sub(c.t)
	return ch
}

// ring tells those whose time has come. The caller holds the mutex.
func (c *handClock) ring() {
	for ch, at := range c.timers {
		if !at.After(c.t) {
			ch <- c.t
			delete(c.timers, ch)
		}
	}
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
	c.ring()
}

// skipPause lets the pause before the next connection pass, which is the shortest wait of a rig.
func (c *handClock) skipPause() {
	for d := range c.asked {
		if d > 0 && d <= time.Millisecond {
			c.advance(d)
			return
		}
	}
}
