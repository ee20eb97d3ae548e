package peers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Slot is a place for one Lockbridge in the bed: an XMPP component, an application service and a nick with an IRC account.
type Slot struct {
	Number          int
	Nick            string // on all networks; the IRC account of that name has the password "pw-" + Nick
	Component       string // the XMPP domain
	ComponentSecret string
	UserPrefix      string // of Matrix ghosts
	Appservice      string // host:port where the homeserver reaches it
	HTTP            string // host:port for health and metrics
	Media           string // host:port of the links to files
	Registration    string // the application service's registration, as the homeserver knows it

	lock *os.File
}

// Slot takes a free slot. The lock is the kernel's: it ends with this process at the latest.
func (b *Bed) Slot() (*Slot, error) {
	count, err := strconv.Atoi(b.values["SLOTS"])
	if err != nil {
		return nil, fmt.Errorf("the bed's SLOTS: %w", err)
	}
	for n := 1; n <= count; n++ {
		lock, err := os.OpenFile(filepath.Join(b.Dir, "slots", strconv.Itoa(n)), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return b.slot(n, lock), nil
		}
		lock.Close()
	}
	return nil, errors.New("every slot of the test bed is taken; TESTBED_SLOTS makes more")
}

func (b *Bed) slot(n int, lock *os.File) *Slot {
	suffix := ""
	if n > 1 {
		suffix = strconv.Itoa(n)
	}
	return &Slot{
		Number:          n,
		Nick:            "lockbridge" + suffix,
		Component:       "bridge" + suffix + "." + b.Host,
		ComponentSecret: b.values["COMPONENT_SECRET"],
		UserPrefix:      "lb" + suffix + "_",
		Appservice:      net.JoinHostPort(b.IP, strconv.Itoa(b.port("APPSERVICE")+n-1)),
		HTTP:            net.JoinHostPort(b.IP, strconv.Itoa(b.port("LOCKBRIDGE")+n-1)),
		Media:           net.JoinHostPort(b.IP, strconv.Itoa(b.port("MEDIA")+n-1)),
		Registration:    filepath.Join(b.Dir, "registrations", fmt.Sprintf("slot%d.yaml", n)),
		lock:            lock,
	}
}

// Release gives the slot back.
func (s *Slot) Release() error { return s.lock.Close() }

// JID is the gateway's own address on XMPP: the one that a room's owner makes admin.
func (s *Slot) JID() string { return s.Nick + "@" + s.Component }
