//go:build e2e

package xmppside

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/media/mediatest"
	"lockbridge/testbed/peers"
)

// media fetches from the bed's servers.
func (b *bed) media(t *testing.T) gateway.Media {
	t.Helper()
	certificate, err := os.ReadFile(b.Certificate())
	must(t, err)
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(certificate)
	return mediatest.New(t, mediatest.Options{Authorities: trusted})
}

// SendFile implements sidetest.Filer: as an upload in a plain room, as an aesgcm link in a sealed one.
func (m member) SendFile(ctx context.Context, name, mime string, data []byte) error {
	f := peers.Content{Name: name, MIME: mime, Data: data}
	if m.seal {
		link, key, nonce, err := m.UploadSealed(ctx, m.bed.Bed, f)
		if err == nil {
			_, err = m.SendSealed(ctx, m.room, peers.Words{Text: peers.AESGCM(link, key, nonce)})
		}
		return err
	}
	link, err := m.Upload(ctx, m.bed.Bed, f)
	if err == nil {
		_, err = m.Send(ctx, m.room, peers.Words{Text: link, Beside: []string{peers.OOB(link)}})
	}
	return err
}

// SeeFile implements sidetest.Filer. The name of a file that came sealed in the legacy version is not told.
func (m member) SeeFile(ctx context.Context, name string) ([]byte, error) {
	e, err := m.Await(ctx, "the file "+name, func(e peers.XMPPEvent) bool {
		sharing, ok := e.Element(peers.NSSharing, "file-sharing")
		called := ok && slices.ContainsFunc(sharing.All("name"), func(n peers.Element) bool { return n.Text == name })
		return e.Kind == "message" && !e.Own && (called || e.Encrypted && strings.HasPrefix(e.Text(), schemeSealed))
	})
	if err != nil {
		return nil, err
	}
	if !e.Encrypted {
		oob, ok := e.Element(peers.NSOOB, "x")
		if link, _ := oob.Child("url"); !ok || link.Text != e.Text() {
			return nil, errors.New("clients would show a link, for what XEP-0066 names is not the body")
		}
	}
	data, _, err := m.bed.Fetch(ctx, e.Text())
	return data, err
}

// Type implements sidetest.Typist.
func (m member) Type(ctx context.Context, on bool) error {
	state := "paused"
	if on {
		state = "composing"
	}
	_, err := m.Send(ctx, m.room, peers.Words{Beside: []string{peers.ChatState(state)}})
	return err
}

// SeeTyping implements sidetest.Typist.
func (m member) SeeTyping(ctx context.Context, on bool) error {
	state := "active"
	if on {
		state = "composing"
	}
	_, err := m.AwaitElement(ctx, 0, m.room, peers.NSStates, state, nil)
	return err
}
