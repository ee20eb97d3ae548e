package xmppside

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"time"

	"mellium.im/xmpp"
)

const (
	// writeTimeout is how long a server may refuse to take what we write before the connection counts as dead.
	writeTimeout = 30 * time.Second
	// askTimeout is how long a query may stay unanswered. Far servers are asked through ours, which gives up first.
	askTimeout = 15 * time.Second
)

var (
	errForeignFrom = errors.New("a stanza's from is outside the component's domain; it was not sent, for the server would close the stream")
	errLinkDown    = errors.New("the connection to the server is down")
)

// link is one connection to the server. Its methods may be called from any goroutine but the reader.
type link struct {
	domain string
	conn   net.Conn
	sess   *xmpp.Session

	askTimeout time.Duration
	queue      *queue      // messages and presences, for the worker
	queries    chan []byte // gets and sets, for the answerers
	chores     chan func(context.Context)

	life context.Context // ends with the link
	end  context.CancelFunc
	down <-chan struct{} // closed when the link is of no use any more
}

func newLink(domain string, conn net.Conn, askTimeout time.Duration) *link {
	life, end := context.WithCancel(context.Background())
	return &link{
		life: life, end: end, domain: domain, conn: conn, askTimeout: askTimeout, queue: newQueue(),
		queries: make(chan []byte, 256), chores: make(chan func(context.Context), 1024), down: life.Done(),
	}
}

// close ends the link at once. The reader notices by its failing read.
func (l *link) close() {
	l.end()
	_ = l.conn.Close() // nothing to be done about an error of a connection that is given up
}

// isDown reports whether the link is of no use any more.
func (l *link) isDown() bool {
	select {
	case <-l.down:
		return true
	default:
		return false
	}
}

// send writes stanzas, in order and together.
func (l *link) send(stanzas ...*node) error {
	raw := make([][]byte, len(stanzas))
	for i, n := range stanzas {
		raw[i] = n.bytes()
	}
	return l.write(raw...)
}

// write writes finished stanzas. The session's writer is held meanwhile, so that nothing of mellium's comes between;
// a write that fails halfway leaves a broken stream, so it ends the link.
func (l *link) write(stanzas ...[]byte) error {
	for _, raw := range stanzas {
		if err := l.checkFrom(raw); err != nil {
			return err
		}
	}
	w := l.sess.TokenWriter()
	defer w.Close() // it was flushed, and nothing is encoded after that
	if err := w.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errLinkDown, err)
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails only on a closed connection, like the write
	if _, err := l.conn.Write(bytes.Join(stanzas, nil)); err != nil {
		l.close()
		return fmt.Errorf("%w: %w", errLinkDown, err)
	}
	_ = l.conn.SetWriteDeadline(time.Time{}) // the session writes, too
	return nil
}

// checkFrom guards the stream: one stanza with a from that is not ours and the server closes it for all puppets
// (RFC 6120, section 8.1.2.2).
func (l *link) checkFrom(raw []byte) error {
	t, err := parseTag(raw)
	if err != nil {
		return fmt.Errorf("check stanza to send: %w", err)
	}
	if domainOf(t.get("from")) != l.domain {
		return errForeignFrom
	}
	return nil
}

// ask sends a query and waits for its answer, at most askTimeout. An answer of type error is returned as *stanzaError, the
// end of the link as errLinkDown.
func (l *link) ask(ctx context.Context, kind, from, to string, payload *node) (*node, error) {
	ctx, cancel := context.WithTimeout(ctx, l.askTimeout)
	defer cancel()
	defer context.AfterFunc(l.life, cancel)() // no answer comes any more
	id, err := randomID()
	if err != nil {
		return nil, err
	}
	raw := el("", "iq", "type", kind, "id", id, "from", from, "to", to).add(payload).bytes()
	if err := l.checkFrom(raw); err != nil {
		return nil, err
	}
	resp, err := l.sess.SendIQ(ctx, xml.NewDecoder(bytes.NewReader(raw)))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", to, l.blame(err))
	}
	defer resp.Close() // tells the session to read on; it cannot fail
	iq, err := decodeNode(resp)
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", to, l.blame(err))
	}
	// mellium finds the question by its id alone, and blanks a from that is our own domain.
	if from := iq.get("from"); from != to && !(from == "" && to == l.domain) {
		return nil, fmt.Errorf("ask %s: somebody else answered", to)
	}
	if iq.get("type") == "error" {
		return nil, fmt.Errorf("ask %s: %w", to, errorOf(iq))
	}
	return iq, nil
}

// blame calls an error of the link errLinkDown: it tells nothing about who was asked.
func (l *link) blame(err error) error {
	var network *net.OpError
	if l.isDown() || errors.Is(err, xmpp.ErrOutputStreamClosed) || errors.As(err, &network) {
		return fmt.Errorf("%w: %w", errLinkDown, err)
	}
	return err
}

// later hands something to do to the chores' goroutines. It never blocks: when they are far behind it reports false.
func (l *link) later(chore func(context.Context)) bool {
	select {
	case l.chores <- chore:
		return true
	default:
		return false
	}
}

func randomID() (string, error) {
	var b [12]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("draw an id: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// stanzaError is an error that a stanza came back with (RFC 6120, section 8.3).
type stanzaError struct {
	Type      string // auth, cancel, continue, modify, wait
	Condition string
	Text      string
	Elsewhere string // an address, with the conditions gone and redirect
}

func (e *stanzaError) Error() string {
	if e.Text != "" {
		return e.Condition + " (" + e.Text + ")"
	}
	return e.Condition
}

func errorOf(stanza *node) *stanzaError {
	e := &stanzaError{Type: "cancel", Condition: "undefined-condition"}
	for _, k := range stanza.kids {
		if k.name != "error" {
			continue
		}
		e.Type = k.get("type")
		for _, c := range k.kids {
			switch {
			case c.space == nsStanzas && c.name == "text":
				e.Text = c.text
			case c.space == nsStanzas:
				e.Condition, e.Elsewhere = c.name, c.text
			}
		}
	}
	return e
}

// condition returns the condition of the stanza error in err, or "".
func condition(err error) string {
	var e *stanzaError
	if errors.As(err, &e) {
		return e.Condition
	}
	return ""
}

// errorNode makes the error child of an answer.
func errorNode(kind, condition string, more ...*node) *node {
	return el("", "error", "type", kind).add(el(nsStanzas, condition)).add(more...)
}
