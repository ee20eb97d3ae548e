package peers

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the program's databases
	_ "modernc.org/sqlite"
)

// Lockbridge is the real program with a configuration of its own, in a slot of the bed. Its feed is its log.
type Lockbridge struct {
	*Feed[string]
	Slot   *Slot
	Config string // the configuration file, in a folder with key and database

	binary string
	store  string // see Setup
	http   string // host:port
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended; err is set then
	err    error
	done   sync.WaitGroup
}

// Setup is what a configuration says beyond the addresses of the bed and the slot.
type Setup struct {
	Store   string // a store URL; "": SQLite in the configuration's folder
	Bridges []Bridge
	SASL    bool     // log in to IRC over TLS with the slot's account; else the plain port
	OMEMO   []string // versions in order of preference; none: the program's default
	Direct  []string // domains and addresses that may have direct chats, sealed on XMPP
	Doors   Doors
	Pace    time.Duration // between two lines on IRC; 0: 50 ms
	IRC     string        // further keys of [network.irc]
	Media   string        // further keys of [media], which is on: loopback may be fetched from, and links lead to the slot's door
	NoLinks bool          // for files: nothing listens for them
	Privacy string        // keys of [privacy]; "": receipts = "all"
	Extra   string
}

// Doors are the addresses at which the program reaches its servers and is reached, where they are not the bed's and the slot's own.
type Doors struct {
	XMPP, Matrix, IRC string // host:port of the servers
	Appservice        string // host:port where the program listens for the homeserver
	HTTP              string // host:port for health and metrics
}

// Bridge is a [[bridge]] block. Rooms are by network: xmpp, matrix, irc.
type Bridge struct {
	Name       string
	Rooms      map[string]string
	Encryption string // required or off
	Puppets    string // "": the program's default
	MaxPuppets int    // 0: the program's default
	More       string // further keys
}

// BuildLockbridge builds the program into dir, as it is released: static, without cgo. LOCKBRIDGE_BINARY names one that exists instead.
func BuildLockbridge(ctx context.Context, b *Bed, dir string) (binary string, err error) {
	if binary = os.Getenv("LOCKBRIDGE_BINARY"); binary != "" {
		return binary, nil
	}
	binary = filepath.Join(dir, "lockbridge")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "goolm", "-o", binary, "./cmd/lockbridge")
	cmd.Dir = b.Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building lockbridge: %w\n%s", err, out)
	}
	return binary, nil
}

// NewLockbridge writes configuration and key into dir, for a slot of the bed. It does not start the program.
func NewLockbridge(b *Bed, binary, dir string, slot *Slot, s Setup) (*Lockbridge, error) {
	key := make([]byte, 32)
	rand.Read(key)
	l := newLockbridge(binary, slot, s, filepath.Join(dir, "lockbridge.toml"))
	if err := os.WriteFile(filepath.Join(dir, "lockbridge.key"), []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
		return nil, err
	}
	return l, os.WriteFile(l.Config, []byte(s.text(b, slot)), 0o600)
}

// Second is another process of the same gateway, on the same database and with the same key, which takes over when the first ends. Its
// own doors differ from the first one's where both would listen at once.
func (l *Lockbridge) Second(b *Bed, s Setup) (*Lockbridge, error) {
	second := newLockbridge(l.binary, l.Slot, s, filepath.Join(filepath.Dir(l.Config), "second.toml"))
	second.owner += ", second process"
	return second, os.WriteFile(second.Config, []byte(s.text(b, l.Slot)), 0o600)
}

func newLockbridge(binary string, slot *Slot, s Setup, config string) *Lockbridge {
	l := &Lockbridge{Slot: slot, binary: binary, store: s.Store, http: cmp.Or(s.Doors.HTTP, slot.HTTP), Config: config}
	l.Feed = newFeed("lockbridge"+fmt.Sprintf(" (slot %d)", slot.Number), func(line string) string { return line })
	return l
}

func (s Setup) text(b *Bed, slot *Slot) string {
	var t strings.Builder
	d := s.Doors
	fmt.Fprintf(&t, "[store]\nurl = %q\nkey = \"file:lockbridge.key\"\n\n[http]\nlisten = %q\n\n[log]\nlevel = \"debug\"\n\n",
		cmp.Or(s.Store, "sqlite:lockbridge.db"), cmp.Or(d.HTTP, slot.HTTP))
	fmt.Fprintf(&t, "[network.xmpp]\nkind = \"xmpp\"\ncomponent = %q\nserver = %q\nsecret = %q\nnick = %q\n\n",
		slot.Component, cmp.Or(d.XMPP, b.Addr("COMPONENT")), slot.ComponentSecret, slot.Nick)
	if s.OMEMO != nil {
		fmt.Fprintf(&t, "[network.xmpp.omemo]\nversions = %s\n\n", list(s.OMEMO))
	}
	fmt.Fprintf(&t, "[network.matrix]\nkind = \"matrix\"\nhomeserver = %q\ndomain = %q\nlisten = %q\nurl = \"http://%s\"\nregistration = %q\nuser_prefix = %q\nnick = %q\n\n",
		"http://"+cmp.Or(d.Matrix, b.Addr("MATRIX")), b.Host, cmp.Or(d.Appservice, slot.Appservice), slot.Appservice, slot.Registration, slot.UserPrefix, slot.Nick)
	fmt.Fprintf(&t, "[network.irc]\nkind = \"irc\"\nnick = %q\npace = { burst = 20, every = %q }\n", slot.Nick, cmp.Or(s.Pace, 50*time.Millisecond))
	if s.SASL {
		fmt.Fprintf(&t, "server = %q\ntls_ca = %q\nsasl = { user = %q, password = %q }\n", b.Addr("IRC_TLS"), b.Certificate(), slot.Nick, "pw-"+slot.Nick)
	} else {
		fmt.Fprintf(&t, "server = %q\ntls = false\n", cmp.Or(d.IRC, b.Addr("IRC")))
	}
	fmt.Fprintf(&t, "%s\n\n[media]\ntls_ca = %q\nallow = [\"127.0.0.0/8\"]\n%s\n", s.IRC, b.Certificate(), s.Media)
	if !s.NoLinks {
		fmt.Fprintf(&t, "listen = %q\nurl = \"http://%s\"\n", slot.Media, slot.Media)
	}
	fmt.Fprintf(&t, "\n[privacy]\n%s\n", cmp.Or(s.Privacy, `receipts = "all"`))
	for _, bridge := range s.Bridges {
		bridge.write(&t)
	}
	if s.Direct != nil {
		fmt.Fprintf(&t, "\n[direct]\nallow = %s\nencryption = \"required\"\nclear = [\"matrix\", \"irc\"]\n", list(s.Direct))
	}
	t.WriteString("\n" + s.Extra)
	return t.String()
}

// list writes strings as an array of TOML.
func list(of []string) string {
	text, _ := json.Marshal(of) // the same for strings
	return string(text)
}

func (br Bridge) write(w io.Writer) {
	var rooms, clear []string
	for _, network := range slices.Sorted(maps.Keys(br.Rooms)) {
		rooms = append(rooms, fmt.Sprintf("%s = %q", network, br.Rooms[network]))
		if network != "xmpp" {
			clear = append(clear, network)
		}
	}
	fmt.Fprintf(w, "\n[[bridge]]\nname = %q\nrooms = { %s }\nencryption = %q\n", br.Name, strings.Join(rooms, ", "), br.Encryption)
	if br.Encryption == "required" {
		fmt.Fprintf(w, "clear = %s\n", list(clear))
	}
	if br.Puppets != "" {
		fmt.Fprintf(w, "puppets = %q\n", br.Puppets)
	}
	if br.MaxPuppets != 0 {
		fmt.Fprintf(w, "max_puppets = %d\n", br.MaxPuppets)
	}
	fmt.Fprintln(w, br.More)
}

// OnPostgres says which dialect SQL takes.
func (l *Lockbridge) OnPostgres() bool { return l.store != "" }

// SQL runs a statement on the program's database, which must not be running if that is SQLite; it returns how many rows it touched.
func (l *Lockbridge) SQL(ctx context.Context, statement string, args ...any) (rows int64, err error) {
	driver, source := "sqlite", filepath.Join(filepath.Dir(l.Config), "lockbridge.db")
	if l.OnPostgres() {
		driver, source = "pgx", l.store
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	result, err := db.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", statement, err)
	}
	return result.RowsAffected()
}

// Dump writes the tables of a Postgres database into a file, to be looked at; on SQLite the database lies beside the configuration.
func (l *Lockbridge) Dump(ctx context.Context, b *Bed, file string) error {
	if !l.OnPostgres() {
		return nil
	}
	out, err := exec.CommandContext(ctx, filepath.Join(filepath.Dir(b.values["PSQL"]), "pg_dump"), "--file", file, l.store).CombinedOutput()
	if err != nil {
		return fmt.Errorf("dumping the database: %w: %s", err, out)
	}
	return nil
}

// Command runs another command of the program (check, registration, init) and returns what it printed.
func (l *Lockbridge) Command(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, l.binary, args...).CombinedOutput()
	return string(out), err
}

// Start runs the program, with further flags, without waiting for anything.
func (l *Lockbridge) Start(flags ...string) error {
	l.cmd = exec.Command(l.binary, append([]string{"run", "--config", l.Config}, flags...)...)
	l.cmd.SysProcAttr = apart()
	output, err := l.cmd.StderrPipe()
	if err != nil {
		return err
	}
	l.cmd.Stdout = l.cmd.Stderr
	l.exited, l.err = make(chan struct{}), nil
	if err := l.cmd.Start(); err != nil {
		return fmt.Errorf("starting lockbridge: %w", err)
	}
	l.done.Go(func() {
		lines := bufio.NewScanner(output)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			l.add(lines.Text())
		}
		io.Copy(io.Discard, output)
		l.err = l.cmd.Wait()
		l.add(fmt.Sprintf("(the process has ended: %v)", l.cmd.ProcessState))
		close(l.exited)
	})
	return nil
}

// apart keeps a process out of our process group, so that Ctrl-C reaches it through us alone.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// StartReady is Start, then AwaitReady.
func (l *Lockbridge) StartReady(ctx context.Context) error {
	if err := l.Start(); err != nil {
		return err
	}
	return l.AwaitReady(ctx)
}

// AwaitReady waits until /readyz says that every network is up. Readiness has no event outside the program, so it is asked for.
func (l *Lockbridge) AwaitReady(ctx context.Context) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	answer := "nothing"
	for {
		status, text, err := l.Get(ctx, "/readyz")
		if status == http.StatusOK {
			return nil
		}
		if err == nil {
			answer = text
		}
		select {
		case <-ticker.C:
		case <-l.exited:
			return fmt.Errorf("%s ended before it was ready; its log:\n%s", l.owner, l.text(0))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; /readyz says %s; its log:\n%s", l.owner, context.Cause(ctx), answer, l.text(0))
		}
	}
}

// Get asks the program's HTTP door.
func (l *Lockbridge) Get(ctx context.Context, path string) (status int, text string, err error) {
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+l.http+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// AwaitLog waits for a log line that holds all of the words.
func (l *Lockbridge) AwaitLog(ctx context.Context, words ...string) (string, error) {
	return l.AwaitLogAfter(ctx, 0, words...)
}

// AwaitLogAfter is AwaitLog for lines after a mark.
func (l *Lockbridge) AwaitLogAfter(ctx context.Context, mark int, words ...string) (string, error) {
	return l.AwaitAfter(ctx, mark, fmt.Sprintf("a log line with %q", words), func(line string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	})
}

// Log is everything that the program has logged.
func (l *Lockbridge) Log() string { return strings.Join(l.Events(), "\n") + "\n" }

// stopWithin is how long a SIGTERM may take: four times what Lockbridge promises to service managers, for a busy machine.
const stopWithin = 20 * time.Second

// Stop sends SIGTERM; an error says that the program did not end with status 0 in time.
func (l *Lockbridge) Stop() error {
	if l.cmd == nil || l.cmd.Process == nil {
		return nil
	}
	defer l.done.Wait()
	if err := l.cmd.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		<-l.exited
		return l.err
	}
	select {
	case <-l.exited:
		if l.err != nil {
			return fmt.Errorf("%s after SIGTERM: %w; its log:\n%s", l.owner, l.err, l.text(0))
		}
		return nil
	case <-time.After(stopWithin):
		l.cmd.Process.Kill()
		<-l.exited
		return fmt.Errorf("%s did not end within %v of SIGTERM; its log:\n%s", l.owner, stopWithin, l.text(0))
	}
}

// Kill ends the program as a crash would.
func (l *Lockbridge) Kill() error {
	err := l.cmd.Process.Kill()
	<-l.exited
	l.done.Wait()
	return err
}

// Signal sends the process a signal: SIGSTOP and SIGCONT freeze it for a while.
func (l *Lockbridge) Signal(s os.Signal) error { return l.cmd.Process.Signal(s) }

// PID is the process's number, once it was started.
func (l *Lockbridge) PID() int { return l.cmd.Process.Pid }

// Running says whether the process has been started and has not ended.
func (l *Lockbridge) Running() bool {
	if l.exited == nil {
		return false
	}
	select {
	case <-l.exited:
		return false
	default:
		return true
	}
}

// Wait returns when the program has ended by itself, with its error.
func (l *Lockbridge) Wait(ctx context.Context) error {
	select {
	case <-l.exited:
		return l.err
	case <-ctx.Done():
		return fmt.Errorf("%s still runs: %w; its log:\n%s", l.owner, context.Cause(ctx), l.text(0))
	}
}
