package peers

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
)

// SaySealed sends text sealed with OMEMO for all members of a room, or for one person.
func (c *XMPPClient) SaySealed(ctx context.Context, to, text string) error {
	_, err := c.saySealed(ctx, to, text, nil)
	return err
}

// SaySealedAnew is SaySealed after fetching every recipient's device list again.
func (c *XMPPClient) SaySealedAnew(ctx context.Context, to, text string) error {
	_, err := c.saySealed(ctx, to, text, map[string]any{"refresh": true})
	return err
}

// SayManySealed seals texts and sends them one after the other.
func (c *XMPPClient) SayManySealed(ctx context.Context, to string, texts []string) error {
	return c.Call(ctx, "send_omemo", map[string]any{"to": to, "body": texts}, nil)
}

// SaySealedIn is SaySealed with some of the client's OMEMO versions: each device gets the text in the first that it has, and who has none of
// them is left out, where SaySealed would give up.
func (c *XMPPClient) SaySealedIn(ctx context.Context, to, text string, versions ...string) error {
	_, err := c.saySealed(ctx, to, text, map[string]any{"omemo": versions, "skip": true})
	return err
}

// Seal is SaySealedIn with all versions and without sending: Release sends what it returns, one stanza for each version that was needed.
func (c *XMPPClient) Seal(ctx context.Context, to, text string) (ids []string, err error) {
	return c.saySealed(ctx, to, text, map[string]any{"hold": true, "skip": true})
}

func (c *XMPPClient) saySealed(ctx context.Context, to, text string, args map[string]any) (ids []string, err error) {
	c.transcript.add(Entry{Where: c.owner, Who: c.JID, Text: text, Said: true, Sealed: true})
	all := map[string]any{"to": to}
	if text != "" {
		all["body"] = text
	}
	maps.Copy(all, args)
	var sent struct{ IDs []string }
	err = c.Call(ctx, "send_omemo", all, &sent)
	return sent.IDs, err
}

// Release sends what Seal sealed, in the order given.
func (c *XMPPClient) Release(ctx context.Context, ids ...string) error {
	return c.Call(ctx, "release", map[string]any{"ids": ids}, nil)
}

// Replay sends the ciphertext of a sealed message, of its own or of one that it received, once more, as a new stanza of the type chat or
// groupchat.
func (c *XMPPClient) Replay(ctx context.Context, id, to, kind string) error {
	return c.Call(ctx, "replay", map[string]any{"id": id, "to": to, "type": kind}, nil)
}

// Hold keeps sealed messages unopened from now on; each is an event of the kind "held".
func (c *XMPPClient) Hold(ctx context.Context) error {
	return c.Call(ctx, "hold", map[string]any{}, nil)
}

// UnholdReversed takes what was held as if it came now, the last one first.
func (c *XMPPClient) UnholdReversed(ctx context.Context) error {
	return c.Call(ctx, "unhold", map[string]any{"order": "reverse"}, nil)
}

// AwaitHeld waits until n sealed messages from the room's other occupants, or from a person, are held.
func (c *XMPPClient) AwaitHeld(ctx context.Context, mark, n int, from string) error {
	_, err := c.AwaitAfter(ctx, mark, fmt.Sprintf("held message %d from %s", n, from), func(e XMPPEvent) bool {
		if e.Kind == "held" && !e.Own && (e.From == from || strings.HasPrefix(e.From, from+"/")) {
			n--
		}
		return n == 0
	})
	return err
}

// XMPPDevice is an OMEMO device as this client knows it.
type XMPPDevice struct {
	ID         int64
	Active     bool
	Namespaces []string
	Key        string // the identity key in hex
}

// Devices fetches somebody's device list and returns the devices whose bundles this client has or could fetch.
func (c *XMPPClient) Devices(ctx context.Context, jid string) (found []XMPPDevice, err error) {
	err = c.Call(ctx, "devices", map[string]any{"jid": jid}, &found)
	return found, err
}

// RemoveDevice takes one of the account's devices off its published lists; 0: this one, whose OMEMO ends with it.
func (c *XMPPClient) RemoveDevice(ctx context.Context, device int64) error {
	args := map[string]any{}
	if device != 0 {
		args["device"] = device
	}
	return c.Call(ctx, "remove_device", args, nil)
}

// ExchangeAnew sets up a new session with somebody's device, several times over; each costs that device a prekey.
func (c *XMPPClient) ExchangeAnew(ctx context.Context, jid string, device int64, times int) error {
	return c.Call(ctx, "exchange_anew", map[string]any{"jid": jid, "device": device, "times": times}, nil)
}

// XMPPBundle is what is published of a device's keys.
type XMPPBundle struct {
	Signed  int64 // id of the signed prekey
	PreKeys []int64
}

// Bundle fetches a device's bundle of a version ("legacy", "omemo:2").
func (c *XMPPClient) Bundle(ctx context.Context, jid string, device int64, version string) (found XMPPBundle, err error) {
	err = c.Call(ctx, "bundle", map[string]any{"jid": jid, "device": device, "omemo": version}, &found)
	return found, err
}

// Without OMEMO's state a client that comes back is a new device; with an older copy of it, it repeats itself.

// Wiped logs a client out, loses its OMEMO state, and logs it in again. It must have a storage file.
func (s *Scene) Wiped(ctx context.Context, c *XMPPClient) (*XMPPClient, error) {
	return s.again(ctx, c, os.Remove)
}

// Restored logs a client out, puts an older copy in the place of its state (see CopyState), and logs it in again.
func (s *Scene) Restored(ctx context.Context, c *XMPPClient, copied string) (*XMPPClient, error) {
	return s.again(ctx, c, func(storage string) error { return copyFile(copied, storage) })
}

// Again logs a client out and in again.
func (s *Scene) Again(ctx context.Context, c *XMPPClient) (*XMPPClient, error) {
	return s.again(ctx, c, func(string) error { return nil })
}

func (s *Scene) again(ctx context.Context, c *XMPPClient, change func(storage string) error) (*XMPPClient, error) {
	if c.options.Storage == "" {
		return nil, fmt.Errorf("%s keeps no state", c.owner)
	}
	if err := c.Close(); err != nil {
		return nil, fmt.Errorf("%s: logging out: %w", c.owner, err)
	}
	if err := change(c.options.Storage); err != nil {
		return nil, err
	}
	return s.XMPPMember(ctx, "", c.options)
}

// CopyState copies the client's OMEMO state as it is now, for Restored.
func (c *XMPPClient) CopyState() (copied string, err error) {
	copied = c.options.Storage + ".copy"
	return copied, copyFile(c.options.Storage, copied)
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}
