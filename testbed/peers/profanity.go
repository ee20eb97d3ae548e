package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Profanity is a real Profanity in a private tmux server. Its feed is its debug log (every stanza in and out) and its chat logs
// (what it showed, after decryption), followed as they grow.
type Profanity struct {
	*Feed[ProfanityLine]
	JID string

	dir, socket  string
	tmuxPID, pid int
	transcript   *Transcript
	cancel       context.CancelFunc
	done         sync.WaitGroup
}

// ProfanityLine is one record of a log.
type ProfanityLine struct {
	Log  string // "debug", or for a chat log the room's or person's bare JID
	Text string // without the time
}

func (l ProfanityLine) String() string {
	if l.Log == "debug" && !strings.Contains(l.Text, "RECV:") && !strings.Contains(l.Text, "SENT:") && !strings.Contains(l.Text, "OMEMO") {
		return ""
	}
	return fmt.Sprintf("%s: %.400s", l.Log, l.Text)
}

const profrc = `[logging]
chlog=true
grlog=true
rotate=false
[ui]
splash=false
tips.show=false
occupants=false
roster=false
[connection]
autoping=0
[notifications]
message=false
room=off
typing=false
invite=false
sub=false
[omemo]
policy=automatic
trustmode=blind
log=on
`

// StartProfanity starts Profanity and logs it in. The screen is wide so that no line of a log-in message is folded.
func StartProfanity(ctx context.Context, b *Bed, jid, password string, t *Transcript) (*Profanity, error) {
	dir, err := os.MkdirTemp("", "lb-profanity-")
	if err != nil {
		return nil, err
	}
	p := &Profanity{JID: jid, dir: dir, socket: filepath.Join(dir, "tmux"), transcript: t}
	p.Feed = newFeed("Profanity "+jid, ProfanityLine.String)
	if err := p.start(ctx, b, password); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Profanity) start(ctx context.Context, b *Bed, password string) error {
	name, domain := p.nick(), p.JID[strings.Index(p.JID, "@")+1:]
	account := fmt.Sprintf("[%s]\nenabled=true\njid=%s\nserver=%s\nport=%d\nresource=profanity\npassword=%s\ntls.policy=disable\n"+
		"muc.service=conference.%s\nmuc.nick=%s\npresence.last=online\npresence.login=online\n", name, p.JID, b.IP, b.port("C2S"), password, domain, name)
	for path, text := range map[string]string{"config/profanity/profrc": profrc, "data/profanity/accounts": account} {
		file := filepath.Join(p.dir, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
	}
	command := fmt.Sprintf("exec env -u DISPLAY -u WAYLAND_DISPLAY HOME=%[1]s XDG_CONFIG_HOME=%[1]s/config XDG_DATA_HOME=%[1]s/data LANG=C.UTF-8 TERM=screen-256color "+
		"profanity -l DEBUG -f %[1]s/debug.log", p.dir)
	if _, err := p.tmux(ctx, "new-session", "-d", "-x", "200", "-y", "60", "-s", "p", command); err != nil {
		return err
	}
	pids, err := p.tmux(ctx, "display-message", "-p", "-t", "p", "#{pid} #{pane_pid}")
	if err != nil {
		return err
	}
	if _, err := fmt.Sscan(pids, &p.tmuxPID, &p.pid); err != nil {
		return fmt.Errorf("tmux said %q: %w", pids, err)
	}
	run, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.done.Go(func() { p.follow(run) })
	if err := p.AwaitScreen(ctx, "Profanity|Not connected"); err != nil {
		return err
	}
	if err := p.Type(ctx, "/connect "+name); err != nil {
		return err
	}
	if err := p.AwaitScreen(ctx, "logged in successfully"); err != nil {
		return err
	}
	// What it publishes before it knows the server's features, it publishes closed to everybody else.
	return p.awaitDebug(ctx, 0, "the features of "+domain, `^Received disco#info response from: `+regexp.QuoteMeta(domain)+`$`)
}

// follow reads what the logs gain. Profanity offers no event to wait for, so they are looked at 20 times a second.
func (p *Profanity) follow(ctx context.Context) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	tails := map[string]*logTail{}
	for {
		files, _ := filepath.Glob(filepath.Join(p.dir, "debug*.log"))
		chats, _ := filepath.Glob(filepath.Join(p.dir, "data/profanity/chatlogs/*/*/*.log"))
		rooms, _ := filepath.Glob(filepath.Join(p.dir, "data/profanity/chatlogs/*/rooms/*/*.log"))
		for _, file := range append(append(files, chats...), rooms...) {
			if tails[file] == nil {
				tails[file] = &logTail{path: file}
			}
			for _, record := range tails[file].read() {
				p.addRecord(file, record)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			p.end(errors.New("Profanity has ended"))
			return
		}
	}
}

var (
	recordStart = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\S+Z(: \w+: \w+:| -) `)
	blankLines  = regexp.MustCompile(`\s*\n`)
	speaker     = regexp.MustCompile(`(?s)^([^:]+): (.*)`)
)

func (p *Profanity) addRecord(file, text string) {
	line := ProfanityLine{Log: "debug", Text: text}
	if strings.Contains(file, "/chatlogs/") {
		line.Log = strings.ReplaceAll(filepath.Base(filepath.Dir(file)), "_at_", "@")
		if m := speaker.FindStringSubmatch(text); m != nil && m[1] != p.nick() {
			p.transcript.add(Entry{Where: p.owner, Who: m[1], Text: m[2], Sealed: p.lastWasSealed(line.Log)})
		}
	}
	p.add(line)
}

// nick is what Profanity is called in rooms.
func (p *Profanity) nick() string {
	name, _, _ := strings.Cut(p.JID, "@")
	return name
}

// logTail cuts a growing log into records: each begins with a time and may have several lines.
type logTail struct {
	path   string
	offset int64
	rest   string
}

func (t *logTail) read() (records []string) {
	file, err := os.Open(t.path)
	if err != nil {
		return nil
	}
	defer file.Close()
	var buffer bytes.Buffer
	if _, err := file.Seek(t.offset, 0); err != nil {
		return nil
	}
	n, _ := buffer.ReadFrom(file)
	t.offset += n
	t.rest += buffer.String()
	if !strings.HasSuffix(t.rest, "\n") {
		return nil
	}
	starts := recordStart.FindAllStringIndex(t.rest, -1)
	for i, s := range starts {
		end := len(t.rest)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		records = append(records, strings.TrimSpace(t.rest[s[1]:end]))
	}
	t.rest = ""
	return records
}

// lastWasSealed says whether the last groupchat or chat message received from the JID carried an OMEMO element.
func (p *Profanity) lastWasSealed(jid string) bool {
	events := p.Events()
	for i := len(events) - 1; i >= 0; i-- {
		if t := events[i].Text; events[i].Log == "debug" && strings.Contains(t, "RECV: <message") && strings.Contains(t, jid) && strings.Contains(t, "<body") {
			return strings.Contains(t, "<encrypted xmlns=")
		}
	}
	return false
}

func (p *Profanity) tmux(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "tmux", append([]string{"-S", p.socket, "-f", "/dev/null"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("tmux %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}

// Type writes a line into Profanity and presses Enter.
func (p *Profanity) Type(ctx context.Context, line string) error {
	if _, err := p.tmux(ctx, "send-keys", "-t", "p", "-l", "--", line); err != nil {
		return err
	}
	_, err := p.tmux(ctx, "send-keys", "-t", "p", "Enter")
	return err
}

// Screen is what a person would see now.
func (p *Profanity) Screen(ctx context.Context) (string, error) {
	return p.tmux(ctx, "capture-pane", "-p", "-J", "-t", "p")
}

// AwaitScreen waits until the screen shows a pattern. A terminal gives no event, so it is looked at ten times a second.
func (p *Profanity) AwaitScreen(ctx context.Context, pattern string) error {
	re := regexp.MustCompile(pattern)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	var last string
	for {
		screen, err := p.Screen(ctx)
		if err == nil && re.MatchString(screen) {
			return nil
		}
		if screen != "" {
			last = screen
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %q is not on the screen: %w; it shows:\n%s", p.owner, pattern, context.Cause(ctx), blankLines.ReplaceAllString(last, "\n"))
		}
	}
}

// awaitDebug waits for a record of the debug log after the mark.
func (p *Profanity) awaitDebug(ctx context.Context, mark int, what, pattern string) error {
	re := regexp.MustCompile(pattern)
	_, err := p.AwaitAfter(ctx, mark, what, func(l ProfanityLine) bool { return l.Log == "debug" && re.MatchString(l.Text) })
	return err
}

// Device is the OMEMO device id that Profanity put into the first sealed message that it sent.
func (p *Profanity) Device(ctx context.Context) (string, error) {
	sid := regexp.MustCompile(`^SENT: <message .*<header sid="(\d+)"`)
	l, err := p.Await(ctx, "a sealed message of its own", func(l ProfanityLine) bool { return l.Log == "debug" && sid.MatchString(l.Text) })
	if err != nil {
		return "", err
	}
	return sid.FindStringSubmatch(l.Text)[1], nil
}

// AwaitStanza waits for a stanza in the debug log, from the beginning: the pattern starts with "RECV: " or "SENT: ".
func (p *Profanity) AwaitStanza(ctx context.Context, what, pattern string) error {
	return p.awaitDebug(ctx, 0, what, pattern)
}

// PublishOMEMO makes keys and publishes device list and bundle. Version 0.13.1 publishes the first list of a fresh account only
// after /omemo clear_device_list.
func (p *Profanity) PublishOMEMO(ctx context.Context) error {
	if err := p.Type(ctx, "/omemo gen"); err != nil {
		return err
	}
	if err := p.AwaitScreen(ctx, "OMEMO crytographic materials generated"); err != nil { // its own spelling
		return err
	}
	mark := p.Mark()
	if err := p.Type(ctx, "/omemo clear_device_list"); err != nil {
		return err
	}
	return p.awaitDebug(ctx, mark, "the published device list", `SENT:.*publish node=.eu\.siacs\.conversations\.axolotl\.devicelist.*<device id`)
}

// JoinSealed enters a room and switches OMEMO on in it.
func (p *Profanity) JoinSealed(ctx context.Context, room string) error {
	mark := p.Mark()
	if err := p.Type(ctx, "/join "+room); err != nil {
		return err
	}
	// It refuses OMEMO until the room's own answer has told it that everybody's address is shown.
	if err := p.awaitDebug(ctx, mark, "the features of "+room, `RECV: <iq .*from="`+regexp.QuoteMeta(room)+`".*muc_nonanonymous`); err != nil {
		return err
	}
	if err := p.Type(ctx, "/omemo start"); err != nil {
		return err
	}
	return p.AwaitScreen(ctx, `\[OMEMO\]|OMEMO.*session started|OMEMO encryption enabled`)
}

// OpenSealed opens the window of a person and switches OMEMO on in it. Text typed after that is sealed for the devices that the person has;
// AwaitSession tells when the first of them can be.
func (p *Profanity) OpenSealed(ctx context.Context, jid string) error {
	if err := p.Type(ctx, "/msg "+jid); err != nil {
		return err
	}
	if err := p.Type(ctx, "/omemo start"); err != nil {
		return err
	}
	return p.AwaitScreen(ctx, `\[OMEMO\]|OMEMO.*session started|OMEMO encryption enabled`)
}

// AwaitSession waits until text is sealed for one of the person's devices: their list is known, and there is a session with one of them, which
// the other side may have begun earlier. Text typed before that is sealed for others only, or not sent at all.
func (p *Profanity) AwaitSession(ctx context.Context, jid string) error {
	if err := p.awaitDebug(ctx, 0, "the devices of "+jid, `\[OMEMO\] Setting device list for `+regexp.QuoteMeta(jid)+`$`); err != nil {
		return err
	}
	return p.awaitDebug(ctx, 0, "a session with "+jid, `\[OMEMO\]\[STORE\] Store session for `+regexp.QuoteMeta(jid)+` `)
}

// Say types a text into the window that is open: of the room that was joined or the person who was turned to last.
func (p *Profanity) Say(ctx context.Context, text string) error {
	mark := p.Mark()
	if err := p.Type(ctx, text); err != nil {
		return err
	}
	p.transcript.add(Entry{Where: p.owner, Who: p.JID, Text: text, Said: true, Sealed: true})
	return p.awaitDebug(ctx, mark, "its own sealed message", `SENT: <message.*<encrypted xmlns=`)
}

// AwaitText waits until Profanity shows a text, opened, as a message of the room or person.
func (p *Profanity) AwaitText(ctx context.Context, from, text string) (ProfanityLine, error) {
	return p.Await(ctx, fmt.Sprintf("the message %q", text), func(l ProfanityLine) bool { return l.Log == from && contains(l.Text, text) })
}

// AwaitSealed is AwaitText for a text that must have come sealed.
func (p *Profanity) AwaitSealed(ctx context.Context, from, text string) error {
	if _, err := p.AwaitText(ctx, from, text); err != nil {
		return err
	}
	for _, e := range p.Events() {
		if e.Log == "debug" && strings.Contains(e.Text, "RECV: <message") && contains(e.Text, text) {
			return fmt.Errorf("%s: the message %q came in the clear: %s", p.owner, text, e.Text)
		}
	}
	return nil
}

// Close quits Profanity and its tmux server and removes its files.
func (p *Profanity) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	p.tmux(ctx, "kill-server")
	for _, pid := range []int{p.pid, p.tmuxPID} {
		if pid > 0 {
			syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	if p.cancel != nil {
		p.cancel()
		p.done.Wait()
	}
	os.RemoveAll(p.dir)
}
