// Command demo shows the main job on one machine: it starts the test bed, makes an OMEMO room, a Matrix room and an IRC channel, runs
// Lockbridge between them, lets real clients talk, and prints the conversation as each side saw it.
//
//	go run ./testbed/demo           stays up afterwards, for one's own clients
//	go run ./testbed/demo --once    ends: with 0 when every message arrived everywhere, else non-zero with what is missing
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"lockbridge/testbed/peers"
)

func main() {
	once := flag.Bool("once", false, "end when every message has arrived everywhere")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *once); err != nil && !(errors.Is(err, context.Canceled) && ctx.Err() != nil) {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, once bool) (err error) {
	was, _ := peers.Open()
	wasUp := was != nil && was.Up(ctx)
	bed, err := peers.Start(ctx, os.Stdout)
	if err != nil {
		return err
	}
	if !wasUp {
		defer stopBed(bed)
	}
	dir, err := os.MkdirTemp("", "lockbridge-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	step("building lockbridge")
	binary, err := peers.BuildLockbridge(ctx, bed, dir)
	if err != nil {
		return err
	}
	step("making accounts, an OMEMO room, a Matrix room and an IRC channel; logging in the clients")
	scene, err := peers.NewScene(ctx, bed, peers.SceneOptions{Binary: binary, Dir: dir, Sealed: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scene.Close()) }()
	missing := show(ctx, scene)
	if missing != nil || once {
		return missing
	}
	if err := invite(ctx, scene); err != nil {
		return err
	}
	<-ctx.Done()
	fmt.Println("\ndemo: stopping")
	return nil
}

func step(text string) { fmt.Println("demo:", text) }

func stopBed(b *peers.Bed) {
	if err := exec.Command(filepath.Join(b.Source, "down.sh")).Run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo: stopping the test bed:", err)
	}
}

// show lets Lockbridge carry the conversation, prints it and returns what is missing in it.
func show(ctx context.Context, s *peers.Scene) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 4*time.Minute, errors.New("four minutes have passed"))
	defer cancel()
	nurse, err := s.ProfanityMember(ctx, "nurse", s.Bed.Host)
	if err != nil {
		return err
	}
	if err := s.Owner.Affiliate(ctx, s.Room, nurse.JID, "member"); err != nil {
		return err
	}
	if err := nurse.JoinSealed(ctx, s.Room); err != nil {
		return err
	}
	step("starting lockbridge on SQLite, with " + s.Lockbridge.Config)
	if err := s.Start(ctx); err != nil {
		return err
	}
	step("the clients talk")
	arrivals := talk(ctx, s, nurse)
	fmt.Printf("\nThe conversation, as each side saw it (🔒 travelled sealed with OMEMO, > said, < arrived):\n")
	s.Transcript.Print(os.Stdout)
	fmt.Println()
	var missing []error
	for _, a := range arrivals {
		mark, lock := "arrived", "  "
		if a.sealed {
			lock = "🔒"
		}
		if a.err != nil {
			mark = "MISSING"
			missing = append(missing, fmt.Errorf("%s: %w", a.way, a.err))
		}
		fmt.Printf("  %-8s %s %s\n", mark, lock, a.way)
	}
	if len(missing) > 0 {
		return fmt.Errorf("%d of %d arrivals are missing:\n%w\n%s", len(missing), len(arrivals), errors.Join(missing...), s.LogTail())
	}
	fmt.Printf("\ndemo: all %d arrivals are there\n", len(arrivals))
	return nil
}

// arrival is one message that came, or did not come, to one side.
type arrival struct {
	way    string
	sealed bool // its XMPP leg must be
	err    error
}

// talk has somebody speak on each side and waits for it everywhere else. A message that is missing does not keep the next from being said.
func talk(ctx context.Context, s *peers.Scene, nurse *peers.Profanity) (all []arrival) {
	const fromXMPP, fromMatrix, fromIRC, fromProfanity = "Good night, good night!", "Parting is such sweet sorrow", "That I shall say good night", "Till it be morrow"
	note := func(way string, sealed bool, err error) { all = append(all, arrival{way, sealed, err}) }
	onMatrix := func(text string) error {
		return within(ctx, func(ctx context.Context) error { _, err := s.Matrix.AwaitText(ctx, s.MatrixRoom, text); return err })
	}
	onChannel := func(text string) error {
		return within(ctx, func(ctx context.Context) error { return onIRC(ctx, s, text) })
	}
	onXMPP := func(text string) error {
		return within(ctx, func(ctx context.Context) error { _, err := s.Owner.AwaitSealed(ctx, s.Room, text); return err })
	}
	onProfanity := func(text string) error {
		return within(ctx, func(ctx context.Context) error { return nurse.AwaitSealed(ctx, s.Room, text) })
	}

	err := s.Owner.SaySealed(ctx, s.Room, fromXMPP)
	note("XMPP → Matrix", true, errors.Join(err, onMatrix(fromXMPP)))
	note("XMPP → IRC", true, onChannel(fromXMPP))

	_, err = s.Matrix.Say(ctx, s.MatrixRoom, fromMatrix)
	note("Matrix → XMPP, opened by python-omemo", true, errors.Join(err, onXMPP(fromMatrix)))
	note("Matrix → XMPP, opened by Profanity", true, onProfanity(fromMatrix))
	note("Matrix → IRC", false, onChannel(fromMatrix))

	err = s.IRC.Say(s.Channel, fromIRC)
	note("IRC → XMPP, opened by python-omemo", true, errors.Join(err, onXMPP(fromIRC)))
	note("IRC → XMPP, opened by Profanity", true, onProfanity(fromIRC))
	note("IRC → Matrix", false, onMatrix(fromIRC))

	err = nurse.Say(ctx, fromProfanity)
	note("XMPP (Profanity) → Matrix", true, errors.Join(err, onMatrix(fromProfanity)))
	note("XMPP (Profanity) → IRC", true, onChannel(fromProfanity))

	acts(ctx, s, note)
	return all
}

// within gives what is awaited its share of the time, so that what never comes leaves some for the rest.
func within(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("20 s have passed"))
	defer cancel()
	return f(ctx)
}

// invite makes accounts for whoever watches and says how to log in.
func invite(ctx context.Context, s *peers.Scene) error {
	guest := peers.Unique("guest")
	if _, err := s.Bed.XMPPAccount(ctx, guest, s.Bed.Host); err != nil {
		return err
	}
	if _, err := s.Bed.MatrixAccount(ctx, guest); err != nil {
		return err
	}
	if err := s.Owner.Affiliate(ctx, s.Room, guest+"@"+s.Bed.Host, "member"); err != nil {
		return err
	}
	c2sHost, c2sPort := s.Bed.Split("C2S")
	fmt.Printf(`
Join in with your own clients (everything listens on this machine only; the TLS certificate is self-signed: %[1]s)

  XMPP    %[2]s@%[3]s, password pw-%[2]s, server %[4]s port %[5]s; you are a member of %[6]s: switch OMEMO on there
          in Profanity:  /connect %[2]s@%[3]s server %[4]s port %[5]s tls trust
  Matrix  @%[2]s:%[3]s, password pw-%[2]s, homeserver %[7]s; the room is %[8]s
  IRC     any nick, %[9]s (TLS: %[10]s); the channel is %[11]s

Configuration, database and key of Lockbridge are in %[12]s until the demo ends.
Ctrl-C ends it.
`, s.Bed.Certificate(), guest, s.Bed.Host, c2sHost, c2sPort, s.Room, s.Bed.HomeserverURL(), s.Alias, s.Bed.Addr("IRC"), s.Bed.Addr("IRC_TLS"), s.Channel,
		filepath.Dir(s.Lockbridge.Config))
	return nil
}
