package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"lockbridge/gateway"
	"lockbridge/xmppside"
)

type fingerprintCommand struct {
	keysFlags

	Puppet string `arg:"" optional:"" help:"Whose: a puppet's XMPP address, or the person it speaks for, such as @alice:example.org (default: the gateway itself)."`
	NoQR   bool   `name:"no-qr" help:"No QR code."`
}

// Run shows a device of ours as members verify it.
func (c fingerprintCommand) Run(o output) error {
	return c.with(o, func(ctx context.Context, keys *xmppside.Operator) error {
		all, err := keys.Addresses(ctx)
		if err != nil {
			return err
		}
		own, err := findOwn(all, c.Puppet)
		if err != nil {
			return err
		}
		device, err := keys.Device(ctx, own.JID)
		if errors.Is(err, xmppside.ErrNoDevice) {
			return fmt.Errorf("%s %w: the running bridge makes one as soon as it has to speak in an encrypted room or chat", own.JID, err)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(o.out, "%s, %s\n\n  device       %d\n  fingerprint  %s\n\n%s\n", own.JID, describeOwn(own), device.ID, device.Fingerprint, device.URI)
		if c.NoQR {
			return nil
		}
		fmt.Fprintln(o.out)
		return printQR(o.out, device.URI, isTerminal(o.out))
	})
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func describeOwn(own xmppside.Own) string {
	if own.Person.IsZero() {
		return "the gateway itself"
	}
	who := gateway.CleanName(own.Person.Label())
	if id := gateway.CleanName(own.Person.ID); id != who {
		who += " (" + id + ")"
	}
	return who + " on " + own.Person.Network
}

// findOwn finds the address that is meant: by itself, or by the person whom it speaks for, "ID" or "ID%NETWORK"; "": the
// gateway's.
func findOwn(all []xmppside.Own, who string) (xmppside.Own, error) {
	if who == "" {
		return all[0], nil
	}
	var found, known []string
	var own xmppside.Own
	for _, one := range all {
		if known = append(known, one.JID); strings.EqualFold(one.JID, who) {
			return one, nil
		}
		if one.Person.IsZero() {
			continue
		}
		known = append(known, one.Person.ID)
		at := one.Person.ID + "%" + one.Person.Network
		if strings.EqualFold(one.Person.ID, who) || strings.EqualFold(at, who) {
			own, found = one, append(found, at)
		}
	}
	switch len(found) {
	case 1:
		return own, nil
	case 0:
		return own, fmt.Errorf("no address of ours speaks for %s, or is it: the nearest one is %s", who, nearest(who, known))
	}
	return own, fmt.Errorf("%s is known on several networks: say which, of %s", who, strings.Join(found, ", "))
}
