package omemo

import (
	"crypto/subtle"
	"fmt"
	"io"
	"slices"
)

const (
	maxSkip     = 1000 // missing messages in a row, and skipped keys kept in a session
	maxChains   = 5    // receiving chains kept in a session
	maxSessions = 9    // sessions kept with a device: the current one and the archive
	heartbeatAt = 53   // from this message number on, the peer wants our ratchet to turn
)

// session is one Double Ratchet, in either role and every protocol version.
//
// A turn has two halves. The receiving one happens when a message brings a new
// ratchet key. The sending one, a new own key, waits until we send (due): the
// peer cannot tell, and a device that only listens never pays for it.
type session struct {
	base      [32]byte // ephemeral key of the key exchange: the session's name
	initiator bool

	root     [32]byte
	own      keyPair // ratchet key; worthless while due
	due      bool    // the next send must make its half of the turn first
	send     [32]byte
	sent     uint32 // messages sent in the current chain, or in the last one while due
	previous uint32 // messages sent in the chain before

	// An initiator wraps what it sends until the peer has answered.
	unconfirmed          bool
	preKey, signedPreKey uint32

	chains []chain // receiving chains, the newest last
}

// chain is a receiving chain.
type chain struct {
	ratchet [32]byte // the peer's ratchet key, which names the chain
	key     [32]byte
	n       uint32 // the next message
	beat    bool   // a heartbeat was asked for under this ratchet key
	skipped []skippedKey
}

// skippedKey is the message key of a missing message.
type skippedKey struct {
	n   uint32
	key [32]byte
}

// turn is the sending half of a turn: a fresh ratchet key against the peer's.
func (w *wire) turn(rand io.Reader, root, remote *[32]byte) (own keyPair, send [32]byte, err error) {
	if own, err = newKeyPair(rand); err != nil {
		return own, send, err
	}
	dh, err := x25519(&own.priv, remote)
	if err != nil {
		return own, send, fmt.Errorf("%w: ratchet key: %w", ErrMalformed, err)
	}
	return own, w.stepRoot(root, &dh), nil
}

// appendSealed appends a message made with the next key of a sending chain and
// advances the chain. The scratch space spares an allocation for each device.
func (w *wire) appendSealed(dst []byte, s *sealScratch, chain *[32]byte, plain []byte) []byte {
	message := stepChain(chain)
	keys := w.expand(&message)
	s.ciphertext = keys.appendEncrypted(s.ciphertext[:0], plain)
	body := len(dst)
	dst = w.appendBody(dst, &s.header, s.ciphertext)
	s.authenticated = append(s.authenticated[:s.associated], dst[body:]...)
	mac := hmacSHA256(&keys.mac, s.authenticated)
	return w.appendMAC(dst, body, mac[:w.macLen])
}

// sealScratch is what appendSealed works with: the header to write, and in
// authenticated[:associated] the associated data.
type sealScratch struct {
	header        header
	ciphertext    []byte
	authenticated []byte
	associated    int
}

// received is what a message did to a session.
type received struct {
	plain  []byte
	turned bool // it brought a new ratchet key
	n      uint32
	chain  int // index of its chain
}

// receive opens a message. It plans first and changes the session only when
// everything, the MAC included, was right.
//
// The message's pn is ignored: libsignal announces one too few, so keys are
// never skipped by it. The old chain is kept instead and continued by its
// late messages.
func (s *session) receive(w *wire, associated []byte, m *sealed) (received, error) {
	at := slices.IndexFunc(s.chains, func(c chain) bool { return c.ratchet == m.ratchet })
	var c chain
	root := s.root
	if at >= 0 {
		c = s.chains[at]
	}
	if int64(m.n)-int64(c.n) > maxSkip {
		return received{}, fmt.Errorf("%w: number %d, expected %d", ErrTooManySkipped, m.n, c.n)
	}
	if at < 0 {
		if s.due {
			// Nobody has seen our next ratchet key, so nobody can have turned.
			return received{}, fmt.Errorf("%w: unknown ratchet key", ErrBadMAC)
		}
		dh, err := x25519(&s.own.priv, &m.ratchet)
		if err != nil {
			return received{}, fmt.Errorf("%w: ratchet key: %w", ErrMalformed, err)
		}
		c = chain{ratchet: m.ratchet, key: w.stepRoot(&root, &dh)}
	}

	message, err := c.messageKey(m.n)
	if err != nil {
		return received{}, err
	}
	plain, err := w.open(&message, associated, m)
	if err != nil {
		return received{}, err
	}

	r := received{plain: plain, turned: at < 0, n: m.n, chain: at}
	if r.turned {
		s.chains = append(s.chains, c)
		s.chains = s.chains[max(len(s.chains)-maxChains, 0):]
		r.chain = len(s.chains) - 1
		s.root, s.due, s.own = root, true, keyPair{}
		s.unconfirmed = false
	} else {
		s.chains[at] = c
	}
	s.dropSkipped()
	return r, nil
}

// messageKey takes the key of message n out of the chain and notes those of the
// messages before it that have not come yet. The chain is a copy: its slice of
// skipped keys is shared with the original and not written to.
func (c *chain) messageKey(n uint32) (key [32]byte, err error) {
	if n < c.n {
		i := slices.IndexFunc(c.skipped, func(k skippedKey) bool { return k.n == n })
		if i < 0 {
			return key, ErrDuplicate
		}
		key = c.skipped[i].key
		c.skipped = slices.Concat(c.skipped[:i], c.skipped[i+1:])
		return key, nil
	}
	c.skipped = slices.Clip(c.skipped)
	for ; c.n < n; c.n++ {
		c.skipped = append(c.skipped, skippedKey{c.n, stepChain(&c.key)})
	}
	c.n++
	return stepChain(&c.key), nil
}

// open checks a message's MAC and decrypts it.
func (w *wire) open(message *[32]byte, associated []byte, m *sealed) ([]byte, error) {
	keys := w.expand(message)
	var buf [256]byte
	mac := hmacSHA256(&keys.mac, append(append(buf[:0], associated...), m.body...))
	if len(m.mac) != w.macLen || subtle.ConstantTimeCompare(mac[:w.macLen], m.mac) != 1 {
		return nil, ErrBadMAC
	}
	plain, ok := keys.decrypt(m.ciphertext)
	if !ok {
		return nil, fmt.Errorf("%w: padding", ErrMalformed)
	}
	return plain, nil
}

// dropSkipped keeps the skipped keys of the whole session below their limit,
// the oldest going first.
func (s *session) dropSkipped() {
	total := 0
	for i := range s.chains {
		total += len(s.chains[i].skipped)
	}
	for i := range s.chains {
		drop := min(max(total-maxSkip, 0), len(s.chains[i].skipped))
		s.chains[i].skipped = s.chains[i].skipped[drop:]
		total -= drop
	}
}

// heartbeatDue says, once for each of the peer's ratchet keys, that the peer
// has sent so much under it that it should see a new one of ours.
func (s *session) heartbeatDue(r *received) bool {
	c := &s.chains[r.chain]
	if c.beat || r.n < heartbeatAt {
		return false
	}
	c.beat = true
	return true
}
