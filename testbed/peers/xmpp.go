package peers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// XMPPClient is a scripted client with OMEMO: testbed/clients/xmpp_client.py in a process of its own.
type XMPPClient struct {
	*Feed[XMPPEvent]
	JID    string // bare
	Device int64  // own OMEMO device id, 0 without OMEMO

	options    XMPPOptions
	cmd        *exec.Cmd
	stdin      io.WriteCloser
	stderr     bytes.Buffer
	transcript *Transcript
	done       sync.WaitGroup

	mu      sync.Mutex
	next    int
	pending map[int]chan reply
	gone    bool
}

// XMPPEvent is what the client saw. Kind tells which fields mean something: message, held, presence, devices, subscription, broken.
type XMPPEvent struct {
	Kind string `json:"event"`
	From string `json:"from"`
	Type string `json:"type"`
	Real string `json:"real"` // bare real JID of the speaker or occupant, where the room shows it

	// message
	Body      *string `json:"body"`     // after decryption; nil for a key transport and for what could not be opened
	Fallback  *string `json:"fallback"` // the stanza's <body/>
	Encrypted bool    `json:"encrypted"`
	Namespace string  `json:"namespace"` // of OMEMO, for message and devices
	Device    int64   `json:"device"`    // the sending one
	Own       bool    `json:"own"`       // the room's reflection of our own message
	Delayed   bool    `json:"delayed"`   // from history
	ID        string  `json:"id"`
	OriginID  string  `json:"origin_id"`
	StanzaID  string  `json:"stanza_id"`
	Replace   string  `json:"replace"`
	Subject   *string `json:"subject"`
	Carbon    string  `json:"carbon"`
	Error     string  `json:"error"` // of an error stanza, or why a message could not be opened
	XML       string  `json:"xml"`
	Content   string  `json:"content"` // of the envelope, where it came sealed in OMEMO 2

	// presence
	Room        string   `json:"room"`
	Nick        string   `json:"nick"`
	Affiliation string   `json:"affiliation"`
	Role        string   `json:"role"`
	Codes       []string `json:"codes"`
	Reason      string   `json:"reason"` // of a kick or ban
	Status      string   `json:"status"` // what somebody said on leaving
	Photo       string   `json:"photo"`  // hash of the occupant's picture

	Devices []int64 `json:"devices"`
}

// Text is the message's text, "" where there is none.
func (e XMPPEvent) Text() string {
	if e.Body == nil {
		return ""
	}
	return *e.Body
}

func (e XMPPEvent) String() string {
	switch e.Kind {
	case "message":
		return fmt.Sprintf("message %s from %s (%s) sealed=%v own=%v %q %s", e.Type, e.From, e.Real, e.Encrypted, e.Own, e.Text(), e.Error)
	case "presence":
		return fmt.Sprintf("presence %s from %s (%s) %s %s %v %s", e.Type, e.From, e.Real, e.Affiliation, e.Role, e.Codes, e.Error)
	}
	return fmt.Sprintf("%s %s from %s %v %s %s", e.Kind, e.Type, e.From, e.Devices, e.Error, e.XML)
}

type reply struct {
	result json.RawMessage
	err    error
}

// XMPPOptions say how a client logs in.
type XMPPOptions struct {
	JID, Password string   // bare
	Resource      string   // "test" unless given; a second device needs another
	OMEMO         []string // versions; none: a client without OMEMO
	Storage       string   // file of the OMEMO state; "": lost when the client ends
	Transcript    *Transcript
}

// The OMEMO versions that a client may have; each list of an account is published only by clients with that version.
var (
	Legacy = []string{"legacy"} // what nearly every client has
	Two    = []string{"omemo:2"}
	Both   = []string{"omemo:2", "legacy"} // sends OMEMO 2 where the other device has it
)

// StartXMPP starts the client and logs it in.
func StartXMPP(ctx context.Context, b *Bed, o XMPPOptions) (*XMPPClient, error) {
	if o.Resource == "" {
		o.Resource = "test"
	}
	if o.OMEMO == nil {
		o.OMEMO = []string{}
	}
	c := &XMPPClient{JID: o.JID, options: o, transcript: o.Transcript, pending: map[int]chan reply{}}
	owner := "XMPP " + o.JID
	if o.Resource != "test" {
		owner += "/" + o.Resource
	}
	c.Feed = newFeed(owner, XMPPEvent.String)
	c.cmd = exec.Command("/usr/bin/python3", "-B", filepath.Join(b.Source, "clients", "xmpp_client.py"))
	c.cmd.Stderr, c.cmd.SysProcAttr = &c.stderr, apart()
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the XMPP client: %w", err)
	}
	c.done.Go(func() { c.read(stdout) })
	var login struct{ Device int64 }
	args := map[string]any{"jid": o.JID, "password": o.Password, "host": b.IP, "port": b.port("C2S"), "resource": o.Resource, "omemo": o.OMEMO}
	if o.Storage != "" {
		args["storage"] = o.Storage
	}
	if err := c.Call(ctx, "login", args, &login); err != nil {
		c.Close()
		return nil, err
	}
	c.Device = login.Device
	return c, nil
}

// Options are how the client logged in: with them the same device comes back, if it had a storage file.
func (c *XMPPClient) Options() XMPPOptions { return c.options }

func (c *XMPPClient) read(stdout io.Reader) {
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var answer struct {
			ID     *int            `json:"id"`
			Kind   string          `json:"event"`
			Result json.RawMessage `json:"result"`
			Error  string          `json:"error"`
		}
		if err := json.Unmarshal(line, &answer); err == nil && answer.Kind == "" && answer.ID != nil {
			r := reply{result: answer.Result}
			if answer.Error != "" {
				r.err = errors.New(answer.Error)
			}
			c.answer(*answer.ID, r)
			continue
		}
		var e XMPPEvent
		if err := json.Unmarshal(line, &e); err != nil {
			e = XMPPEvent{Kind: "broken", Error: fmt.Sprintf("%v in %q", err, line)}
		}
		if e.Kind == "message" && e.Body != nil && !e.Own {
			c.transcript.add(Entry{Where: c.owner, Who: e.From, Text: *e.Body, Sealed: e.Encrypted})
		}
		c.add(e)
	}
	c.mu.Lock()
	c.gone = true
	for _, waiting := range c.pending {
		waiting <- reply{err: errors.New("the client has ended")}
	}
	c.pending = nil
	c.mu.Unlock()
	c.end(errors.New("the client has ended"))
}

func (c *XMPPClient) answer(id int, r reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if waiting := c.pending[id]; waiting != nil {
		delete(c.pending, id)
		waiting <- r
	}
}

// Call runs a command of the client; see xmpp_client.py for what there is.
func (c *XMPPClient) Call(ctx context.Context, command string, args map[string]any, result any) error {
	waiting := make(chan reply, 1)
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		return fmt.Errorf("%s: %s: the client has ended: %s", c.owner, command, strings.TrimSpace(c.stderr.String()))
	}
	c.next++
	c.pending[c.next] = waiting
	line, err := json.Marshal(map[string]any{"id": c.next, "cmd": command, "args": args})
	if err == nil {
		_, err = c.stdin.Write(append(line, '\n'))
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %s: %w", c.owner, command, err)
	}
	select {
	case r := <-waiting:
		if r.err != nil {
			return fmt.Errorf("%s: %s: %w", c.owner, command, r.err)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(r.result, result)
	case <-ctx.Done():
		return fmt.Errorf("%s: %s: %w; it saw:\n%s", c.owner, command, context.Cause(ctx), c.text(0))
	}
}

// Join enters a room; a new one is created, open and unlocked.
func (c *XMPPClient) Join(ctx context.Context, room, nick string) error {
	return c.Call(ctx, "join", map[string]any{"room": room, "nick": nick}, nil)
}

// Leave leaves a room.
func (c *XMPPClient) Leave(ctx context.Context, room string) error {
	return c.Call(ctx, "leave", map[string]any{"room": room}, nil)
}

// Configure sets fields of a room by their names without the prefix muc#roomconfig_.
func (c *XMPPClient) Configure(ctx context.Context, room string, fields map[string]any) error {
	return c.Call(ctx, "configure", map[string]any{"room": room, "fields": fields}, nil)
}

// Affiliate makes a bare JID owner, admin, member, none or outcast of a room.
func (c *XMPPClient) Affiliate(ctx context.Context, room, jid, affiliation string) error {
	return c.Call(ctx, "affiliate", map[string]any{"room": room, "jid": jid, "affiliation": affiliation}, nil)
}

// Affiliations returns a room's affiliations by bare JID.
func (c *XMPPClient) Affiliations(ctx context.Context, room string) (found map[string]string, err error) {
	err = c.Call(ctx, "affiliations", map[string]any{"room": room}, &found)
	return found, err
}

// Occupants returns the nicks in a room and their real JIDs.
func (c *XMPPClient) Occupants(ctx context.Context, room string) (found map[string]string, err error) {
	err = c.Call(ctx, "occupants", map[string]any{"room": room}, &found)
	return found, err
}

// CreateRoom makes a persistent room. A sealed one is members-only and shows everybody's real address, as OMEMO needs.
func (c *XMPPClient) CreateRoom(ctx context.Context, room, nick string, sealed bool, members ...string) error {
	if err := c.Join(ctx, room, nick); err != nil {
		return err
	}
	fields := map[string]any{"persistentroom": true}
	if sealed {
		fields["membersonly"], fields["whois"] = true, "anyone"
	}
	if err := c.Configure(ctx, room, fields); err != nil {
		return err
	}
	for _, jid := range members {
		if err := c.Affiliate(ctx, room, jid, "member"); err != nil {
			return err
		}
	}
	return nil
}

// Say sends plain text to a room that was joined, else to a person.
func (c *XMPPClient) Say(ctx context.Context, to, text string) error {
	_, err := c.Send(ctx, to, Words{Text: text})
	return err
}

// SayPrivately sends plain text to one occupant of a room.
func (c *XMPPClient) SayPrivately(ctx context.Context, room, nick, text string) error {
	return c.Call(ctx, "send", map[string]any{"to": room + "/" + nick, "body": text, "type": "chat"}, nil)
}

// Subscribe sends a presence of a subscription type: subscribe, subscribed, unsubscribe, unsubscribed.
func (c *XMPPClient) Subscribe(ctx context.Context, jid, kind string) error {
	return c.Call(ctx, "subscribe", map[string]any{"jid": jid, "type": kind}, nil)
}

// IQ sends a query and returns the answer's XML; an error stanza is an error.
func (c *XMPPClient) IQ(ctx context.Context, to, kind, payload string) (string, error) {
	var answer struct{ XML string }
	err := c.Call(ctx, "iq", map[string]any{"to": to, "type": kind, "xml": payload}, &answer)
	return answer.XML, err
}

// Keep has the client stay in a room that it is in, through restarts of the server: it comes back by itself and reads what it missed
// from the archive, in order.
func (c *XMPPClient) Keep(ctx context.Context, room string) error {
	return c.Call(ctx, "keep", map[string]any{"room": room}, nil)
}

// SayUntilHeard says a text in a kept room and returns when the room has reflected it, however long the server is away meanwhile. It is
// sealed if the client has OMEMO and asks for it. The client does nothing else until then.
func (c *XMPPClient) SayUntilHeard(ctx context.Context, room, text string, sealed bool) error {
	return c.Call(ctx, "say", map[string]any{"room": room, "body": text, "omemo": sealed}, nil)
}

// Raw writes XML to the stream as it is.
func (c *XMPPClient) Raw(ctx context.Context, xml string) error {
	return c.Call(ctx, "raw", map[string]any{"xml": xml}, nil)
}

// AwaitText waits for a message of somebody else from the room or person that holds the text.
func (c *XMPPClient) AwaitText(ctx context.Context, from, text string) (XMPPEvent, error) {
	return c.Await(ctx, fmt.Sprintf("the message %q", text), func(e XMPPEvent) bool {
		return e.Kind == "message" && !e.Own && (e.From == from || strings.HasPrefix(e.From, from+"/")) && contains(e.Text(), text)
	})
}

// AwaitSealed is AwaitText for a message that must have come sealed.
func (c *XMPPClient) AwaitSealed(ctx context.Context, from, text string) (XMPPEvent, error) {
	e, err := c.AwaitText(ctx, from, text)
	if err == nil && !e.Encrypted {
		err = fmt.Errorf("%s: the message %q came in the clear: %s", c.owner, text, e.XML)
	}
	return e, err
}

// AwaitOccupant waits until the occupant with that real JID is in the room.
func (c *XMPPClient) AwaitOccupant(ctx context.Context, room, jid string) (XMPPEvent, error) {
	return c.Await(ctx, jid+" in "+room, func(e XMPPEvent) bool {
		return e.Kind == "presence" && e.Room == room && e.Type == "" && e.Real == jid
	})
}

// Close logs out and ends the client's process; one that is stuck in a command is killed.
func (c *XMPPClient) Close() error {
	c.stdin.Close()
	stuck := time.AfterFunc(closeWithin, func() { c.cmd.Process.Kill() })
	defer stuck.Stop()
	c.done.Wait()
	return c.cmd.Wait()
}

// closeWithin is how long logging out may take.
const closeWithin = 30 * time.Second

// Kill ends the client's process without a word to the server.
func (c *XMPPClient) Kill() error {
	err := c.cmd.Process.Kill()
	c.done.Wait()
	c.cmd.Wait()
	return err
}
