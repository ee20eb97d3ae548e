package omemo

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

type vectorX3DH struct {
	EphemeralPriv  hexBytes `json:"ephemeral_priv"`
	SignedPrekeyID uint32   `json:"signed_prekey_id"`
	PrekeyID       *uint32  `json:"prekey_id"`
}

type vectorState struct {
	RootKey        hexBytes `json:"root_key"`
	OwnRatchetPriv hexBytes `json:"own_ratchet_priv"`
	RemoteRatchet  hexBytes `json:"remote_ratchet_pub"`
	SendChainKey   hexBytes `json:"send_chain_key"`
	SendN          uint32   `json:"send_n"`
	RecvChainKey   hexBytes `json:"recv_chain_key"`
	RecvN          uint32   `json:"recv_n"`
	PN             uint32   `json:"pn"`
}

type vectorStep struct {
	Op, Who, ID, Expect, Note string
	vectorX3DH
	Plaintext      hexBytes
	Kex            bool
	Wire           string
	Header         struct{ N, PN uint32 }
	NewRatchetPriv hexBytes     `json:"new_ratchet_priv"`
	StateAfter     *vectorState `json:"state_after"`
}

type transcript struct {
	Name, Version string
	Alice, Bob    vectorParty
	Steps         []vectorStep
}

// player plays one party of a transcript on a Manager. All state is marshalled
// into the store after each step and read from it in the next one.
type player struct {
	t        *testing.T
	wire     *wire
	own, far *vectorParty
	manager  *Manager
	store    *mapStore
	random   *script
	// eager makes our half of each turn at once, so that the state can be
	// compared with that of a library which does; else it waits for the next
	// message that we send, as it does in use.
	eager    bool
	ratchets map[[32]byte][]byte // ratchet keys that wait, by session
	begun    *vectorX3DH         // a session to start with the next message
}

func newPlayer(t *testing.T, v Version, own, far *vectorParty) *player {
	p := &player{t: t, wire: wireOf(v), own: own, far: far, store: newMapStore(), random: &script{}, ratchets: make(map[[32]byte][]byte)}
	p.manager = NewManager(p.store, Options{Rand: p.random})
	st := &stock{}
	for _, k := range own.SignedPrekeys {
		signature := k.SigLegacyWire
		if v == Two {
			signature = k.SigEd25519
		}
		st.signed = append(st.signed, signedPreKey{
			preKey:    preKey{k.ID, k.pair(t)},
			signature: [64]byte(signature), created: time.Now(),
		})
	}
	for _, k := range own.Prekeys {
		st.preKeys = st.preKeys.appendKey(&preKey{k.ID, k.pair(t)})
		st.next = max(st.next, k.ID+1)
	}
	b := p.manager.book(v, own.JID)
	p.store.values[b.identityKey()] = own.identity(t).marshal()
	p.store.values[b.stockKey()] = st.marshal()
	return p
}

func (p *player) address() Address { return Address{p.far.JID, p.far.DeviceID} }

// bundle is the peer's bundle with the one prekey that a vector uses. The
// signed prekey of an unknown id is the current one under another name.
func (p *player) bundle(x *vectorX3DH) *Bundle {
	signed := p.far.SignedPrekeys[len(p.far.SignedPrekeys)-1]
	for _, k := range p.far.SignedPrekeys {
		if k.ID == x.SignedPrekeyID {
			signed = k
		}
	}
	i := slices.IndexFunc(p.far.Prekeys, func(k vectorKey) bool { return k.ID == *x.PrekeyID })
	if i < 0 {
		p.t.Fatalf("vector: prekey %d is not the peer's", *x.PrekeyID)
	}
	return &Bundle{
		Version:      p.wire.version,
		identity:     p.far.form(p.t, p.wire.version),
		Identity:     IdentityKey(p.far.IdentityCurve.key(p.t)),
		SignedPreKey: PublicPreKey{x.SignedPrekeyID, signed.Pub.key(p.t)},
		PreKeys:      []PublicPreKey{{*x.PrekeyID, p.far.Prekeys[i].Pub.key(p.t)}},
		verified:     true,
	}
}

// encrypt seals once, in a new session when one was begun.
func (p *player) encrypt(ratchet, plain []byte) *Key {
	var msg *Message
	var err error
	ctx := context.Background()
	if p.begun != nil {
		p.random.push(p.begun.EphemeralPriv, ratchet)
		msg, err = p.manager.sealAnew(ctx, p.wire.version, p.own.JID, p.address(), p.bundle(p.begun), plain)
		p.begun = nil
	} else {
		if rec, _ := p.record(); rec.sessions[0].due {
			p.random.push(p.ratchets[rec.sessions[0].base])
		}
		msg, _, err = p.manager.sealMaterial(ctx, p.wire.version, p.own.JID, []Address{p.address()}, nil, plain, true)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	if len(p.random.queue) > 0 {
		p.t.Fatal("a key of the vector was not used")
	}
	return &msg.Keys[0]
}

// record reads the record of the peer with the sending half of its current
// session.
func (p *player) record() (*record, place) {
	b := p.manager.book(p.wire.version, p.own.JID)
	keys := []string{b.deviceKey("record", p.address()), b.deviceKey("ratchet", p.address())}
	found, err := b.locate(context.Background(), keys, map[Address]struct{}{p.address(): {}})
	if err != nil || len(found) == 0 {
		p.t.Fatalf("no state of the peer: %v", err)
	}
	rec, err := unmarshalRecord(b.values[keys[0]], b.values[keys[1]])
	if err != nil {
		p.t.Fatal(err)
	}
	found[p.address()].load(rec.sessions[0])
	return rec, found[p.address()]
}

func (p *player) stepEncrypt(s *vectorStep) {
	if p.begun == nil {
		for p.sent() < s.Header.N {
			p.encrypt(s.NewRatchetPriv, []byte("thrown away"))
		}
	} else if s.Header.N > 0 {
		p.encrypt(s.NewRatchetPriv, []byte("thrown away"))
		p.stepEncrypt(s)
		return
	}
	key := p.encrypt(s.NewRatchetPriv, s.Plaintext)
	if key.PreKey != s.Kex {
		p.t.Fatalf("key exchange %v, want %v", key.PreKey, s.Kex)
	}
	p.compareWire(key.Data, unbase64(p.t, s.Wire), s.Kex)
	p.compareState(s.StateAfter)
}

// sent is the number that the next message will have.
func (p *player) sent() uint32 {
	rec, _ := p.record()
	if rec.sessions[0].due {
		return 0
	}
	return rec.sessions[0].sent
}

// compareWire compares what we sealed with the vector. The libraries leave out
// the registration id, and some announce a pn that is one too low.
func (p *player) compareWire(got, want []byte, kex bool) {
	p.t.Helper()
	w := p.wire
	if kex {
		a, err := w.parseExchange(got)
		if err != nil {
			p.t.Fatal(err)
		}
		b, err := w.parseExchange(want)
		if err != nil {
			p.t.Fatal(err)
		}
		got, want = a.message, b.message
		a.message, b.message = nil, nil
		if a.preKey != b.preKey || a.signedPreKey != b.signedPreKey || a.base != b.base || a.identity != b.identity {
			p.t.Fatalf("key exchange %+v, want %+v", a, b)
		}
	}
	a, err := w.parse(got)
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := w.parse(want)
	if err != nil {
		p.t.Fatal(err)
	}
	// Some transcripts hold valid messages in a form that we do not write.
	again := w.appendMAC(w.appendBody(nil, &b.header, b.ciphertext), 0, b.mac)
	usual := bytes.Equal(again, want)
	if a.pn == b.pn && usual && !bytes.Equal(got, want) {
		p.t.Fatalf("message %x, want %x", got, want)
	}
	if a.pn != b.pn && a.pn != b.pn+1 || a.n != b.n || a.ratchet != b.ratchet || !bytes.Equal(a.ciphertext, b.ciphertext) {
		p.t.Fatalf("message %+v, want %+v", a, b)
	}
}

func (p *player) stepDecrypt(s *vectorStep) {
	before := p.store.snapshot()
	msg := &Message{Version: p.wire.version, SID: p.far.DeviceID, Keys: []Key{{JID: p.own.JID, RID: p.own.DeviceID, PreKey: s.Kex, Data: unbase64(p.t, s.Wire)}}}
	o, err := p.manager.openKey(context.Background(), p.own.JID, []string{p.far.JID}, msg)
	var want error
	switch s.Expect {
	case "ok", "ok_if_old_chains", "ok_if_archived":
		if err != nil {
			p.t.Fatal(err)
		}
		wantBytes(p.t, "plaintext", o.plain, s.Plaintext)
		if err := o.commit(context.Background(), p.manager); err != nil {
			p.t.Fatal(err)
		}
		if s.NewRatchetPriv != nil && o.turned {
			p.ratchets[o.session.base] = s.NewRatchetPriv
			p.turnEagerly(s.NewRatchetPriv)
		}
		p.compareState(s.StateAfter)
		return
	case "duplicate":
		want = ErrDuplicate
	case "too_many_skipped":
		want = ErrTooManySkipped
	case "prekey_unavailable", "spk_unavailable":
		want = ErrPreKeyUnknown
	case "reject_no_prekey":
		want = ErrNoPreKey
	case "invalid":
		if errors.Is(err, ErrDuplicate) || errors.Is(err, ErrState) {
			p.t.Fatalf("error %v", err)
		}
	default:
		p.t.Fatalf("unknown expectation %q", s.Expect)
	}
	if err == nil || want != nil && !errors.Is(err, want) {
		p.t.Fatalf("error %v, want %v", err, want)
	}
	p.store.mustEqual(p.t, before)
}

// turnEagerly makes our half of a turn right after the peer's.
func (p *player) turnEagerly(ratchet []byte) {
	if !p.eager {
		return
	}
	p.random.push(ratchet)
	b := p.manager.book(p.wire.version, p.own.JID)
	found, err := b.locate(context.Background(), nil, map[Address]struct{}{p.address(): {}})
	if err != nil {
		p.t.Fatal(err)
	}
	at := found[p.address()]
	b.values[b.identityKey()] = p.store.values[b.identityKey()]
	s, err := p.manager.newSealer(b, 1)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := s.makeTurn(at, at.dueTurn()); err != nil {
		p.t.Fatal(err)
	}
	if err := s.save(context.Background()); err != nil {
		p.t.Fatal(err)
	}
}

// compareState compares the session with a library's that made its half of the
// last turn at once.
func (p *player) compareState(want *vectorState) {
	if want == nil || !p.eager {
		return
	}
	rec, _ := p.record()
	s := rec.sessions[0]
	wantBytes(p.t, "root key", s.root[:], want.RootKey)
	wantBytes(p.t, "own ratchet key", s.own.priv[:], want.OwnRatchetPriv)
	if want.SendChainKey != nil {
		wantBytes(p.t, "sending chain", s.send[:], want.SendChainKey)
	}
	if s.sent != want.SendN || s.previous != want.PN {
		p.t.Errorf("sent %d after %d, want %d after %d", s.sent, s.previous, want.SendN, want.PN)
	}
	if want.RecvChainKey != nil {
		c := s.chains[len(s.chains)-1]
		wantBytes(p.t, "peer's ratchet key", c.ratchet[:], want.RemoteRatchet)
		wantBytes(p.t, "receiving chain", c.key[:], want.RecvChainKey)
		if c.n != want.RecvN {
			p.t.Errorf("received %d, want %d", c.n, want.RecvN)
		}
	}
}

func (p *player) play(tr *transcript, who string) {
	for i := range tr.Steps {
		s := &tr.Steps[i]
		if s.Who != who || p.t.Failed() {
			continue
		}
		p.t.Logf("step %d: %s %s %s", i, s.Op, s.ID, s.Note)
		switch s.Op {
		case "x3dh_initiate":
			if s.PrekeyID == nil {
				return // without one-time prekey: a session that we never start
			}
			p.begun = &s.vectorX3DH
		case "encrypt":
			p.stepEncrypt(s)
		case "decrypt":
			p.stepDecrypt(s)
		default:
			p.t.Fatalf("unknown step %q", s.Op)
		}
		checkState(p.t, p.store)
	}
}

func TestVectorsSessions(t *testing.T) {
	for _, file := range []string{"sessions_legacy.json", "sessions_v2.json"} {
		var all []transcript
		vectorFile(t, file, &all)
		some(t, len(all))
		for _, tr := range all {
			v := vectorVersion(t, tr.Version)
			for _, eager := range []bool{true, false} {
				mode := tr.Version + "/" + map[bool]string{true: "eager", false: "deferred"}[eager]
				t.Run(tr.Name+"/alice/"+mode, func(t *testing.T) {
					p := newPlayer(t, v, &tr.Alice, &tr.Bob)
					p.eager = eager
					p.play(&tr, "alice")
				})
				t.Run(tr.Name+"/bob/"+mode, func(t *testing.T) {
					p := newPlayer(t, v, &tr.Bob, &tr.Alice)
					p.eager = eager
					p.play(&tr, "bob")
				})
			}
		}
	}
}
