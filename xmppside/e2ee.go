package xmppside

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// fallbackBody is what clients without OMEMO show.
const fallbackBody = "This message is encrypted by OMEMO, which your client does not seem to support."

// namePause is how often the log names members who cannot read along.
const namePause = 24 * time.Hour

// ensureDevice gives a puppet its device, inside a transaction.
func (s *Side) ensureDevice(ctx context.Context, p *puppet) error {
	if _, err := s.omemo.EnsureDevice(ctx, p.JID); err != nil {
		return err
	}
	p.Device = true
	return nil
}

// seal encrypts the jobs for everybody whom they are meant for, and makes the stanzas durable together
// with the ratchets, in one transaction. What has to be fetched is fetched before.
func (s *Side) seal(ctx context.Context, l *link, meant audience, jobs []*job) error {
	to, err := s.recipients(ctx, l, meant)
	if err != nil {
		return err
	}
	if len(to) == 0 {
		for _, j := range jobs {
			j.err = gateway.Dropf("%s has an OMEMO device", meant.nobody())
		}
		return nil
	}
	if meant.room != nil {
		meant.room.devices.Store(int32(len(to[omemo.Legacy]) + len(to[omemo.Two])))
	}
	s.allTwo.note(meant.jid, to)
	if err := s.speak(ctx, voicesOf(jobs)); err != nil {
		return err
	}
	missing := map[omemo.Version][]omemo.Address{}
	sealing := func(bundles map[omemo.Version]map[omemo.Address]*omemo.Bundle) error {
		return s.deps.State.Update(ctx, func(ctx context.Context) error {
			if bundles == nil {
				clear(missing)
				if err := s.lacking(ctx, voicesOf(jobs), to, missing); err != nil || len(missing) > 0 {
					return err
				}
			}
			return s.sealAll(ctx, meant, jobs, to, bundles)
		})
	}
	if err = sealing(nil); err == nil && len(missing) > 0 {
		var bundles map[omemo.Version]map[omemo.Address]*omemo.Bundle
		if bundles, err = s.fetchBundles(ctx, l, missing); err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = sealing(bundles)
		}
	}
	if err != nil {
		for _, j := range jobs {
			j.parts = nil // what was made is not durable
		}
		return fmt.Errorf("seal messages: %w", err)
	}
	s.epoch.move()
	return nil
}

// sealAll seals messages inside a transaction, with bundles for the devices that have no session yet.
func (s *Side) sealAll(ctx context.Context, meant audience, jobs []*job, to map[omemo.Version][]omemo.Address, bundles map[omemo.Version]map[omemo.Address]*omemo.Bundle) error {
	left := make(map[omemo.Version]map[omemo.Address]*omemo.Bundle, len(bundles))
	for v, some := range bundles {
		left[v] = maps.Clone(some)
	}
	for _, j := range jobs {
		if err := s.sealOne(ctx, meant, j, to, left); err != nil {
			return err
		}
	}
	return nil
}

// speak notes of puppets that they speak from now on.
func (s *Side) speak(ctx context.Context, voices []string) error {
	for _, own := range voices {
		p, known := s.people.ofJID(own)
		if !known || p.Spoke {
			continue
		}
		if _, err := s.editPuppet(ctx, p.Person, func(_ context.Context, p *puppet) error { p.Spoke = true; return nil }); err != nil {
			return err
		}
	}
	return nil
}

func voicesOf(jobs []*job) []string {
	var out []string
	for _, j := range jobs {
		for _, p := range j.parts {
			if own := j.by(p); !slices.Contains(out, own) {
				out = append(out, own)
			}
		}
	}
	return out
}

// sealOne seals what a job says and keeps its stanzas, inside a transaction.
func (s *Side) sealOne(ctx context.Context, meant audience, j *job, to map[omemo.Version][]omemo.Address, bundles map[omemo.Version]map[omemo.Address]*omemo.Bundle) error {
	j.err = nil
	for _, p := range j.parts {
		if err := s.sealPart(ctx, meant, j, p, to, bundles); err != nil || j.err != nil {
			return err
		}
	}
	if j.checkLength(meant.log); j.err != nil {
		return nil
	}
	return s.deps.State.PutMany(ctx, map[string][]byte{stateOut + j.Key: j.kept()})
}

// sealPart makes one stanza, with an element for each version that some device needs; no device is in two of them. What
// the legacy version does not seal stands beside it in the clear, or is not said.
func (s *Side) sealPart(ctx context.Context, meant audience, j *job, p *part, to map[omemo.Version][]omemo.Address, bundles map[omemo.Version]map[omemo.Address]*omemo.Bundle) error {
	u := p.says
	if len(to[omemo.Legacy]) > 0 && (u.act || u.needs) && !meant.metadata {
		j.err = gateway.Plainer(errors.New("it would have to be said in the clear"))
		return nil
	}
	if len(to[omemo.Legacy]) > 0 && u.act {
		p.raw = meant.message(j, p, append(slices.Clone(u.beside), s.late(j))...).bytes()
		return nil
	}
	var content []*node
	var used []omemo.Version
	untrusted := false
	for _, v := range s.versions {
		if len(to[v]) == 0 {
			continue
		}
		plain := []byte(u.legacy)
		if v == omemo.Two {
			var err error
			if plain, err = s.envelope(j.by(p), meant.jid, u.two); err != nil {
				return err
			}
		}
		msg, report, err := s.omemo.Seal(ctx, v, j.by(p), to[v], bundles[v], plain)
		if err != nil && !errors.Is(err, omemo.ErrNoDevices) {
			return err
		}
		for _, built := range report.Built {
			s.devices.spent.use(deviceName{built.Address, v}, built.PreKey)
			if b := bundles[v][built.Address]; b != nil {
				bundles[v][built.Address] = b.Without(built.PreKey)
			}
		}
		for _, skip := range report.Skipped {
			untrusted = untrusted || errors.Is(skip.Err, omemo.ErrUntrusted)
			s.tellSkipped(meant, skip)
		}
		if err == nil {
			content, used = append(content, rawNode(msg.AppendXML(nil))), append(used, v)
		}
	}
	switch {
	case len(used) == 0 && untrusted:
		j.err = gateway.Dropf("%s has a device whose key is trusted here", meant.nobody())
		return nil
	case len(used) == 0:
		j.err = gateway.Dropf("%s has a device that can be sealed for", meant.nobody())
		return nil
	}
	if slices.Contains(used, omemo.Legacy) && meant.metadata {
		content = append(content, u.beside...)
	}
	p.raw = meant.message(j, p, append(append(content, aside(used)...), s.late(j))...).bytes()
	return nil
}

// aside is what stands beside the sealed elements. Clients without OMEMO show the body; those that speak OMEMO 2 alone
// expect none.
func aside(used []omemo.Version) []*node {
	v := used[0]
	if slices.Contains(used, omemo.Legacy) {
		v = omemo.Legacy
	}
	out := []*node{el(nsHints, "store")}
	if v == omemo.Legacy {
		return append(out, el(nsEME, "encryption", "namespace", v.Namespace(), "name", "OMEMO"), el("", "body").say(fallbackBody))
	}
	return append(out, el(nsEME, "encryption", "namespace", v.Namespace(), "name", "OMEMO 2"))
}

// tellSkipped logs, now and then, why a device cannot read along.
func (s *Side) tellSkipped(meant audience, skip omemo.Skip) {
	if s.lately.free("skip/"+skip.Address.JID+"/"+strconv.FormatUint(uint64(skip.Address.Device), 10), s.now(), namePause) {
		meant.log.Warn("a device cannot read along", "of", skip.Address.JID, "device", skip.Address.Device, "err", skip.Err)
	}
}

// envelope wraps what is said for OMEMO 2: who says it, and where.
func (s *Side) envelope(own, to string, says []*node) ([]byte, error) {
	var content []byte
	for _, n := range says {
		content = n.append(content, "")
	}
	return omemo.AppendEnvelope(nil, rand.Reader, omemo.Envelope{From: own, To: to, Time: s.now(), Content: content})
}

// recipients are all devices of those whom messages are meant for, by the lists that their owners publish, in the
// version that each is sealed for.
func (s *Side) recipients(ctx context.Context, l *link, meant audience) (map[omemo.Version][]omemo.Address, error) {
	members := meant.people()
	lists, err := s.devices.lists(ctx, l, members)
	if err != nil {
		return nil, err
	}
	to := map[omemo.Version][]omemo.Address{}
	var without []string
	for _, j := range members {
		usable := lists[j].usable(s.versions)
		if len(usable) == 0 {
			without = append(without, j)
		}
		for v, ids := range usable {
			for _, id := range ids {
				to[v] = append(to[v], omemo.Address{JID: j, Device: id})
			}
		}
	}
	if len(without) > 0 && s.lately.free("without/"+meant.jid, s.now(), namePause) {
		meant.log.Warn("members without an OMEMO device cannot read what the bridge says", "members", strings.Join(without[:min(len(without), 50)], " "), "count", len(without))
	}
	return to, nil
}

// lacking adds to missing the devices with which any of the voices has no session, inside a transaction.
func (s *Side) lacking(ctx context.Context, voices []string, to, missing map[omemo.Version][]omemo.Address) error {
	for _, own := range voices {
		if _, err := s.omemo.EnsureDevice(ctx, own); err != nil {
			return err
		}
		for v, some := range to {
			lack, err := s.omemo.Missing(ctx, v, own, some)
			if err != nil {
				return err
			}
			if len(lack) > 0 {
				missing[v] = append(missing[v], lack...)
			}
		}
	}
	return nil
}

// fetchBundles asks for what devices publish. Those that cannot be had are left out, unless it is only the link that is down.
func (s *Side) fetchBundles(ctx context.Context, l *link, devices map[omemo.Version][]omemo.Address) (map[omemo.Version]map[omemo.Address]*omemo.Bundle, error) {
	bundles := map[omemo.Version]map[omemo.Address]*omemo.Bundle{}
	for v, some := range devices {
		var err error
		if bundles[v], err = s.devices.bundles(ctx, l, v, distinct(some)); err != nil {
			return nil, err
		}
	}
	return bundles, nil
}

// distinct drops what stands there twice.
func distinct(devices []omemo.Address) []omemo.Address {
	seen := make(map[omemo.Address]bool, len(devices))
	return slices.DeleteFunc(devices, func(a omemo.Address) bool {
		twice := seen[a]
		seen[a] = true
		return twice
	})
}
