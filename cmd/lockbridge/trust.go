package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"lockbridge/xmppside"
)

type trustCommand struct {
	List     trustListCommand `cmd:"" help:"List people's OMEMO keys and whether they are trusted."`
	Verify   verifyCommand    `cmd:"" help:"A key was compared with its owner: trust it, and no new one of theirs blindly any more."`
	Distrust distrustCommand  `cmd:"" help:"Seal nothing for a key, and let nothing in that comes from it."`
	Undo     undoCommand      `cmd:"" help:"Take a decision on a key back."`
}

type trustListCommand struct {
	keysFlags

	JID string `arg:"" optional:"" name:"jid" help:"Whose: an XMPP address (default: everybody's)."`
}

// Run prints a table.
func (c trustListCommand) Run(o output) error {
	return c.with(o, func(ctx context.Context, keys *xmppside.Operator) error {
		all, err := keys.Keys(ctx)
		if err != nil {
			return err
		}
		if c.JID == "" {
			if len(all) == 0 {
				fmt.Fprintln(o.out, "nobody's keys are known yet: they are once a device has written to the bridge or was written to")
				return nil
			}
			return printKeys(o, all, true)
		}
		some := keysOf(all, c.JID)
		if len(some) == 0 {
			return fmt.Errorf("no key of %s is known%s", c.JID, nearestPerson(all, c.JID))
		}
		return printKeys(o, some, false)
	})
}

// keysOf are one person's keys.
func keysOf(all []xmppside.KnownKey, jid string) []xmppside.KnownKey {
	return slices.DeleteFunc(slices.Clone(all), func(k xmppside.KnownKey) bool { return !strings.EqualFold(k.JID, jid) })
}

// nearestPerson is the end of a sentence that says that somebody is unknown.
func nearestPerson(all []xmppside.KnownKey, jid string) string {
	if len(all) == 0 {
		return ""
	}
	var people []string
	for _, k := range all {
		people = append(people, k.JID)
	}
	return "; the nearest address with keys is " + nearest(jid, people)
}

// printKeys prints keys one a line; brief: of each at most some of our addresses that use it.
func printKeys(o output, keys []xmppside.KnownKey, brief bool) error {
	const some = 3
	w := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "JID\tDEVICE\tFINGERPRINT\tVERSIONS\tTRUST\tTALKS TO")
	for _, k := range keys {
		device, versions, own := "-", "-", "-"
		if k.Device != 0 {
			device, versions = strconv.FormatUint(uint64(k.Device), 10), strings.Join(k.Versions, " ")
			own = strings.Join(k.Own, " ")
			if more := len(k.Own) - some; brief && more > 0 {
				own = fmt.Sprintf("%s and %d more", strings.Join(k.Own[:some], " "), more)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.JID, device, k.Fingerprint, versions, describeTrust(k), own)
	}
	return w.Flush()
}

func describeTrust(k xmppside.KnownKey) string {
	switch {
	case k.Decided:
		return k.Trust.String() + " (decided)"
	case k.Pinned:
		return k.Trust.String() + " (pinned)"
	}
	return k.Trust.String()
}

// decideArgs name somebody's key.
type decideArgs struct {
	keysFlags

	JID         string   `arg:"" name:"jid" help:"Whose: an XMPP address, or an xmpp: URI with keys as clients show it."`
	Fingerprint []string `arg:"" optional:"" name:"fingerprint" help:"64 hexadecimal digits in any grouping."`
}

type (
	verifyCommand   struct{ decideArgs }
	distrustCommand struct{ decideArgs }
	undoCommand     struct{ decideArgs }
)

func (c verifyCommand) Run(o output) error   { return c.decide(o, xmppside.Verify) }
func (c distrustCommand) Run(o output) error { return c.decide(o, xmppside.Distrust) }
func (c undoCommand) Run(o output) error     { return c.decide(o, xmppside.Undo) }

// decide keeps a decision on each key that is named, and says what it changes.
func (c decideArgs) decide(o output, d xmppside.Decision) error {
	return c.with(o, func(ctx context.Context, keys *xmppside.Operator) error {
		claims, err := keys.ParseClaims(c.JID, strings.Join(c.Fingerprint, " "))
		if err != nil {
			return err
		}
		before, err := keys.Keys(ctx)
		if err != nil {
			return err
		}
		for _, claim := range claims {
			if d == xmppside.Undo && !slices.ContainsFunc(before, func(k xmppside.KnownKey) bool { return is(k, claim) && k.Decided }) {
				return fmt.Errorf("nothing was decided on key %s of %s%s", claim.Fingerprint, claim.JID, hint(before, claim))
			}
			if err := keys.Decide(ctx, claim, d); err != nil {
				return err
			}
		}
		after, err := keys.Keys(ctx)
		if err != nil {
			return err
		}
		for _, claim := range claims {
			tell(o, before, after, claim, d)
		}
		return printKeys(o, keysOf(after, claims[0].JID), true)
	})
}

func is(k xmppside.KnownKey, c xmppside.Claim) bool {
	return k.JID == c.JID && k.Fingerprint == c.Fingerprint
}

// tell says what became of a key, and what looks odd about it.
func tell(o output, before, after []xmppside.KnownKey, c xmppside.Claim, d xmppside.Decision) {
	i := slices.IndexFunc(after, func(k xmppside.KnownKey) bool { return is(k, c) })
	fmt.Fprintf(o.out, "%s, key %s: %s", c.JID, c.Fingerprint, outcome(d))
	if i >= 0 && d == xmppside.Undo {
		fmt.Fprintf(o.out, "; it is %s again", describeTrust(after[i]))
	}
	fmt.Fprintln(o.out, ". This holds from the next message on.")
	if !slices.ContainsFunc(before, func(k xmppside.KnownKey) bool { return is(k, c) }) {
		fmt.Fprintf(o.err, "note: no device of %s has shown this key yet; the decision waits for one%s\n", c.JID, hint(before, c))
	}
	if d == xmppside.Undo && i >= 0 && after[i].Pinned {
		fmt.Fprintln(o.err, "note: the configuration pins this key; to change that, take it out of omemo.pins")
	}
}

func outcome(d xmppside.Decision) string {
	switch d {
	case xmppside.Verify:
		return "verified"
	case xmppside.Distrust:
		return "distrusted; nothing is sealed for it, and nothing that comes from it is carried"
	}
	return "the decision is taken back"
}

// near is how many digits a key may differ from another one to be taken for a typing error.
const near = 16

// hint is the end of a sentence that says that a key is not known, with what may have been meant.
func hint(all []xmppside.KnownKey, c xmppside.Claim) string {
	least, best := near+1, ""
	digits := func(fingerprint string) string { return strings.ReplaceAll(fingerprint, " ", "") }
	for _, k := range all {
		if k.JID != c.JID && k.Fingerprint == c.Fingerprint {
			return fmt.Sprintf("; it is known as a key of %s", k.JID)
		}
		if n := distance(digits(k.Fingerprint), digits(c.Fingerprint)); k.JID == c.JID && n > 0 && n < least {
			least, best = n, fmt.Sprintf("; the nearest key that is known is %s (%s)", k.Fingerprint, count(n, "digit")+" off")
		}
	}
	if best == "" && len(keysOf(all, c.JID)) == 0 {
		return nearestPerson(all, c.JID)
	}
	return best
}
