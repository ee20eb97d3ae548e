package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"

	"lockbridge/omemo"
)

const (
	stanzaKeys = 1000
	sealedKey  = 106 // bytes: a message that is no key exchange, with two-byte numbers
)

// stanzaMessage is a message for a room of so many devices.
func stanzaMessage() *omemo.Message {
	msg := &omemo.Message{Version: version, SID: 1234567890, IV: make([]byte, 12), Payload: make([]byte, 100)}
	data := make([]byte, stanzaKeys*sealedKey)
	_, _ = rand.Read(data) // never fails
	for i := range stanzaKeys {
		msg.Keys = append(msg.Keys, omemo.Key{RID: uint32(1000000000 + i*999983), Data: data[i*sealedKey : (i+1)*sealedKey]})
	}
	return msg
}

func stanzaXML() []byte {
	dst := []byte("<message xmlns='jabber:component:accept' from='room@conference.example.org/juliet' to='" + ownJID + "' type='groupchat' id='1'>")
	dst = stanzaMessage().AppendXML(dst)
	return append(dst, "<store xmlns='urn:xmpp:hints'/></message>"...)
}

// parse1000 reads the stanza as the gateway does: for the keys of our own device, or for all.
func parse1000(all bool) func() (func() (float64, int, error), error) {
	return func() (func() (float64, int, error), error) {
		stanza := stanzaXML()
		own := []omemo.Address{{JID: ownJID, Device: stanzaMessage().Keys[500].RID}}
		want := 1
		if all {
			own, want = nil, stanzaKeys
		}
		return once(func() error {
			msg, err := omemo.ParseMessage(version, stanza, own...)
			if err == nil && len(msg.Keys) != want {
				err = errors.New("keys are missing")
			}
			return err
		}), nil
	}
}

// tokens1000 walks over the same stanza by encoding/xml's tokens, and does nothing with them.
func tokens1000() (func() (float64, int, error), error) {
	stanza := stanzaXML()
	return once(func() error {
		d := xml.NewDecoder(bytes.NewReader(stanza))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}), nil
}

// write1000 writes the element to a buffer that is used again, as marshal1000 does.
func write1000() (func() (float64, int, error), error) {
	msg := stanzaMessage()
	var buf []byte
	return once(func() error {
		if buf = msg.AppendXML(buf[:0]); len(buf) < stanzaKeys*sealedKey {
			return errors.New("keys are missing")
		}
		return nil
	}), nil
}

// writeNew1000 writes to a new buffer each time.
func writeNew1000() (func() (float64, int, error), error) {
	msg := stanzaMessage()
	return once(func() error {
		if len(msg.AppendXML(nil)) < stanzaKeys*sealedKey {
			return errors.New("keys are missing")
		}
		return nil
	}), nil
}

// What encoding/xml marshals.
type (
	plainKey struct {
		RID  uint32 `xml:"rid,attr"`
		Data string `xml:",chardata"`
	}
	plainHeader struct {
		SID  uint32     `xml:"sid,attr"`
		Keys []plainKey `xml:"key"`
		IV   string     `xml:"iv"`
	}
	plainMessage struct {
		XMLName xml.Name    `xml:"eu.siacs.conversations.axolotl encrypted"`
		Header  plainHeader `xml:"header"`
		Payload string      `xml:"payload"`
	}
)

// marshalPlain is AppendXML by the standard library, base64 included as it is there.
func marshalPlain(dst *bytes.Buffer, msg *omemo.Message) error {
	encode := base64.StdEncoding.EncodeToString
	out := plainMessage{Payload: encode(msg.Payload)}
	out.Header = plainHeader{SID: msg.SID, IV: encode(msg.IV), Keys: make([]plainKey, len(msg.Keys))}
	for i := range msg.Keys {
		out.Header.Keys[i] = plainKey{msg.Keys[i].RID, encode(msg.Keys[i].Data)}
	}
	dst.Reset()
	return xml.NewEncoder(dst).Encode(&out)
}

func marshal1000() (func() (float64, int, error), error) {
	msg := stanzaMessage()
	var buf bytes.Buffer
	return once(func() error { return marshalPlain(&buf, msg) }), nil
}

// once is a round of some operations that need no preparation.
func once(fn func() error) func() (float64, int, error) {
	return func() (float64, int, error) {
		const some = 20
		spent, err := timed(func() error {
			for range some {
				if err := fn(); err != nil {
					return err
				}
			}
			return nil
		})
		return spent, some, err
	}
}
