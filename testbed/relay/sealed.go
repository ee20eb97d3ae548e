package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"lockbridge/omemo"
)

const (
	devices    = 10 // that what the bridge says is sealed for
	omemoNodes = "eu.siacs.conversations.axolotl."
)

// memory is the state of one device.
type memory map[string][]byte

// GetMany implements omemo.Store.
func (m memory) GetMany(_ context.Context, keys []string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, k := range keys {
		if v, ok := m[k]; ok {
			out[k] = v
		}
	}
	return out, nil
}

// List implements omemo.Store.
func (m memory) List(_ context.Context, prefix string) (map[string][]byte, error) {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(k string, _ []byte) bool { return !strings.HasPrefix(k, prefix) })
	return out, nil
}

// PutMany implements omemo.Store.
func (m memory) PutMany(_ context.Context, values map[string][]byte) error {
	maps.Copy(m, values)
	maps.DeleteFunc(m, func(_ string, v []byte) bool { return v == nil })
	return nil
}

// member is somebody in a sealed room with all the room's devices. The first of them says and opens everything; the
// others have sessions that stand, as those of clients in use do.
type member struct {
	*xmppPeer
	devices []*omemo.Manager
	gateway omemo.Address
	alive   time.Time // when we last let the gateway's ratchet turn
}

// newMember makes the devices and publishes their keys.
func newMember(ctx context.Context, x *xmppPeer) (*member, error) {
	m := &member{xmppPeer: x}
	var ids []uint32
	for range devices {
		d := omemo.NewManager(memory{}, omemo.Options{})
		own, err := d.EnsureDevice(ctx, x.jid)
		if err != nil {
			return nil, err
		}
		bundle, err := d.Bundle(ctx, omemo.Legacy, x.jid)
		if err != nil {
			return nil, err
		}
		if err := x.publish(ctx, fmt.Sprintf("%sbundles:%d", omemoNodes, own.ID), string(bundle.AppendXML(nil))); err != nil {
			return nil, err
		}
		m.devices, ids = append(m.devices, d), append(ids, own.ID)
	}
	return m, x.publish(ctx, omemoNodes+"devicelist", string(omemo.AppendDeviceList(nil, omemo.Legacy, ids...)))
}

// meet lets every device read something that the bridge says, and answer, so that all sessions stand.
func (m *member) meet(ctx context.Context, irc *peer, gateway string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	first, err := m.first(ctx, irc)
	if err != nil {
		return err
	}
	for i, d := range m.devices {
		opened, err := m.openWith(ctx, d, gateway, first)
		if err != nil {
			return fmt.Errorf("device %d cannot open what the bridge says: %w", i, err)
		}
		m.gateway = opened.Sender
		word := fmt.Sprintf("device %d is here", i)
		stanza, err := m.sealWith(ctx, d, word)
		if err != nil {
			return err
		}
		heard := make(chan struct{}, 1)
		irc.listen(func(line []byte, _ time.Time) {
			if bytes.Contains(line, []byte(word)) {
				heard <- struct{}{}
			}
		})
		if err := m.write(stanza); err != nil {
			return err
		}
		select {
		case <-heard:
			irc.listen(nil)
		case <-ctx.Done():
			return fmt.Errorf("the bridge does not pass on what device %d says: %w", i, ctx.Err())
		}
	}
	return nil
}

// first has something said on IRC, again until the bridge is up and passes it on.
func (m *member) first(ctx context.Context, irc *peer) ([]byte, error) {
	heard := make(chan []byte, 1)
	m.listen(func(stanza []byte, _ time.Time) {
		if isSealed(stanza) {
			select {
			case heard <- bytes.Clone(stanza):
			default:
			}
		}
	})
	defer m.listen(nil)
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		if err := irc.write(irc.say(nil, "is anybody there?")); err != nil {
			return nil, err
		}
		select {
		case stanza := <-heard:
			return stanza, nil
		case <-again.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("the bridge says nothing in %s: %w", m.room, ctx.Err())
		}
	}
}

func (m *member) openWith(ctx context.Context, d *omemo.Manager, from string, stanza []byte) (omemo.Opened, error) {
	own, err := d.Device(ctx, m.jid)
	if err != nil {
		return omemo.Opened{}, err
	}
	msg, err := omemo.ParseMessage(omemo.Legacy, stanza, omemo.Address{JID: m.jid, Device: own.ID})
	if err != nil {
		return omemo.Opened{}, err
	}
	return d.Open(ctx, m.jid, []string{from}, msg)
}

func (m *member) sealWith(ctx context.Context, d *omemo.Manager, text string) ([]byte, error) {
	msg, _, err := d.Seal(ctx, omemo.Legacy, m.jid, []omemo.Address{m.gateway}, nil, []byte(text))
	if err != nil {
		return nil, err
	}
	return m.sealed(msg), nil
}

func (m *member) sealed(msg *omemo.Message) []byte {
	out := fmt.Appendf(nil, "<message to='%s' type='groupchat'>", m.room)
	return append(msg.AppendXML(out), "<store xmlns='urn:xmpp:hints'/><body>sealed</body></message>"...)
}

// seal is what the member says. It is sealed for the gateway alone.
func (m *member) seal(text string) ([]byte, error) {
	return m.sealWith(context.Background(), m.devices[0], text)
}

// open opens what the bridge said. As clients do, it answers now and then without content, so that the ratchet turns.
func (m *member) open(stanza []byte) (string, error) {
	ctx := context.Background()
	opened, err := m.openWith(ctx, m.devices[0], m.gateway.JID, stanza)
	if err != nil {
		return "", err
	}
	if opened.SendEmpty && time.Since(m.alive) > time.Second {
		m.alive = time.Now()
		msg, err := m.devices[0].SealEmpty(ctx, omemo.Legacy, m.jid, m.gateway, nil)
		if err != nil {
			return "", err
		}
		if err := m.write(m.sealed(msg)); err != nil {
			return "", err
		}
	}
	return string(opened.Plain), nil
}

// likeSealed is a room message of the size and shape that sealing for all devices gives it, with the text in the clear.
func likeSealed(room, text string) []byte {
	msg := &omemo.Message{Version: omemo.Legacy, SID: 1234567890, IV: make([]byte, 12), Payload: make([]byte, bodySize)}
	for i := range devices {
		msg.Keys = append(msg.Keys, omemo.Key{RID: uint32(1000000000 + i*999983), Data: make([]byte, 106)})
	}
	out := fmt.Appendf(nil, "<message to='%s' type='groupchat'>", room)
	return fmt.Appendf(msg.AppendXML(out), "<store xmlns='urn:xmpp:hints'/><body>%s</body></message>", text)
}

// isSealed reports whether a stanza is a room's sealed message.
func isSealed(stanza []byte) bool {
	return bytes.HasPrefix(stanza, []byte("<message")) && bytes.Contains(stanza, []byte("type='groupchat'")) && bytes.Contains(stanza, []byte("<payload"))
}
