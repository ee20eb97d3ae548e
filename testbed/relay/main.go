// Command relay compares Lockbridge as a relay between an XMPP room and an IRC channel with Matterbridge, and with the
// servers alone. `make bench-relay` builds all of it, starts the servers, and runs it.
//
// Both bridges have the same servers, on loopback and on the same cores as everything else. Lockbridge makes every
// message durable before it goes on, on PostgreSQL with fsync or on SQLite; Matterbridge keeps them in memory. Figures of
// their own say little on such a machine, so both sides are measured in rounds, one right after the other, with the order
// reversed every other round; what counts is the median of the rounds' ratios. Matterbridge, which never rests, is
// stopped (SIGSTOP) while others are measured.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type config struct {
	lockbridge, matterbridge, dir, puppets, only, load string
	rounds                                             int
	quick                                              bool
	closed                                             int
}

func main() {
	var c config
	flag.StringVar(&c.lockbridge, "lockbridge", "bin/lockbridge", "the program")
	flag.StringVar(&c.matterbridge, "matterbridge", "bin/bench/matterbridge", "the program")
	flag.StringVar(&c.dir, "dir", "bin/bench", "folder on a disk for configurations, logs and SQLite files")
	flag.StringVar(&c.puppets, "puppets", "none", "how Lockbridge speaks in the rooms; with none it speaks for everybody, as Matterbridge does")
	flag.StringVar(&c.only, "only", "", "comma-separated subjects to measure, of "+strings.Join(subjects, " "))
	flag.StringVar(&c.load, "load", "", "measure only loads with this in their names")
	flag.IntVar(&c.rounds, "rounds", 0, "how many rounds; 0: 7, or 3 with -quick")
	flag.IntVar(&c.closed, "closed", 0, "how many messages a closed loop has; 0: 2000, or 1500 with -quick")
	flag.BoolVar(&c.quick, "quick", false, "short rounds, to see where it stands")
	flag.Parse()
	if c.rounds == 0 {
		c.rounds = 7
		if c.quick {
			c.rounds = 3
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.SIGPIPE) // a reader of the report that has seen enough must not keep us from ending the bridges
	err := compare(ctx, c)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
}

var subjects = []string{matterbridge, onPostgres, onSQLite, sealedPG, sealedSQLite, floorXMPP, floorSealed, floorIRC}

// servers are what servers.sh printed: addresses and process ids.
type servers map[string]string

func readServers() (servers, error) {
	at := servers{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			at[name] = value
		}
	}
	if at["prosody"] == "" {
		return nil, errors.New("standard input must be what servers.sh up prints")
	}
	return at, nil
}

func (at servers) number(name string) int {
	n, _ := strconv.Atoi(at[name]) // servers.sh wrote it
	return n
}

func compare(ctx context.Context, c config) error {
	at, err := readServers()
	if err != nil {
		return err
	}
	for _, path := range []*string{&c.lockbridge, &c.matterbridge, &c.dir} { // the bridges run in a folder of their own
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	b := &bench{config: c, report: newReport()}
	defer b.end()
	if err := b.start(ctx, at); err != nil {
		return err
	}
	for round := range c.rounds {
		began := time.Now()
		if err := b.round(ctx, round); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "round %d of %d: %v\n", round+1, c.rounds, time.Since(began).Round(time.Second))
		if round == 0 || round == c.rounds-1 {
			if err := b.idle(ctx); err != nil {
				return err
			}
		}
	}
	b.report.show(os.Stdout)
	return nil
}

type bench struct {
	config
	report *report
	all    []*subject
}

func (b *bench) wants(name string) bool {
	return b.only == "" || slices.Contains(strings.Split(b.only, ","), name)
}

// start brings up the subjects and waits until a message crosses each of them.
func (b *bench) start(ctx context.Context, at servers) error {
	for slot, name := range subjects {
		if !b.wants(name) {
			continue
		}
		var s *subject
		var err error
		switch name {
		case matterbridge:
			s, err = newMatterbridge(ctx, at, b.config)
		case floorXMPP, floorSealed, floorIRC:
			s, err = newFloor(ctx, at, name)
		default:
			s, err = newOurs(ctx, at, b.config, name, slot)
		}
		if s != nil {
			b.all = append(b.all, s)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, s := range b.all {
		probing, cancel := context.WithTimeout(ctx, time.Minute)
		err := s.out.probe(probing)
		if err == nil && s.in != nil {
			err = s.in.probe(probing)
		}
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w; its log is in %s", s.name, err, b.dir)
		}
		if s.name == matterbridge {
			s.paused = true
			syscall.Kill(s.pid, syscall.SIGSTOP)
		}
	}
	return nil
}

func (b *bench) end() {
	for _, s := range b.all {
		s.end()
	}
}

// load is one kind of traffic.
type load struct {
	name  string
	rate  int // 0: closed loop
	count int
	in    bool // from IRC
	rare  bool // in every third round only
}

func (b *bench) loads() []load {
	closed, hundred, ten := 2000, 400, 40
	if b.quick {
		closed, hundred, ten = 1500, 200, 20
	}
	if b.closed > 0 {
		closed = b.closed
	}
	return []load{
		{"xmpp_irc closed", 0, closed, false, false},
		{"irc_xmpp closed", 0, closed, true, false},
		{"xmpp_irc 100/s", 100, hundred, false, false},
		{"irc_xmpp 100/s", 100, hundred, true, false},
		{"xmpp_irc 10/s", 10, ten, false, true},
		{"irc_xmpp 10/s", 10, ten, true, true},
	}
}

// round measures every subject under every load.
func (b *bench) round(ctx context.Context, round int) error {
	for _, l := range b.loads() {
		if l.rare && round%3 != 0 || !strings.Contains(l.name, b.load) {
			continue
		}
		order := slices.Clone(b.all)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			w := s.out
			if l.in {
				w = s.in
			}
			if w == nil {
				continue
			}
			r, err := s.measure(ctx, w, l.count, l.rate)
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			b.report.add(l.name, s.name, round, r)
		}
	}
	for _, s := range b.all {
		if s.in != nil && s.messages >= 10_000 {
			b.report.add(afterTenThousand, s.name, round, result{rss: rssOf(s.pid)})
		}
	}
	return nil
}

// idle measures what the bridges use while nothing happens.
func (b *bench) idle(ctx context.Context) error {
	const length = 10 * time.Second
	before := map[string]time.Duration{}
	for _, s := range b.all {
		if s.paused {
			syscall.Kill(s.pid, syscall.SIGCONT)
			defer syscall.Kill(s.pid, syscall.SIGSTOP)
		}
		before[s.name] = cpuOf(s.pid)
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, s := range b.all {
		b.report.idle[s.name] = append(b.report.idle[s.name], float64(cpuOf(s.pid)-before[s.name])/float64(length)*100)
	}
	return nil
}
