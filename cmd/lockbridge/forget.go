package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
)

// personTime bounds a command that asks a question first, or reads the whole journal.
const personTime = 10 * time.Minute

type forgetCommand struct {
	configFlag

	Person  string `arg:"" help:"Whom: the address as lockbridge trace shows it, such as juliet@example.org, @alice:example.org or a nick; or ROOM/NICK, as in lobby@rooms.example.org/juliet, for a member of a room that hides addresses."`
	Network string `required:"" placeholder:"NAME" help:"The network that the person is on."`
	Yes     bool   `help:"Do not ask."`
}

// Run removes what is kept about a person, here and by every side.
func (c forgetCommand) Run(o output) error {
	return c.beside(o, personTime, func(ctx context.Context, cfg *config, db *store.Beside) error {
		who := gateway.Person{Network: c.Network, ID: c.Person}
		if known := cfg.networkNames(); !slices.Contains(known, c.Network) {
			fmt.Fprintf(o.err, "note: no network is called %q now; the nearest one is %s\n", c.Network, nearest(c.Network, known))
		}
		if err := meant(ctx, db, &who); err != nil {
			return err
		}
		if !c.Yes {
			fmt.Fprintf(o.err, `What lockbridge keeps about %s on %s will be removed, and cannot be brought back:
the author and excerpt of every message of theirs, the text of those that still wait (they are not delivered),
and on all networks their names, puppets, encrypted sessions and direct chats.
What was delivered stays on the networks' servers and in the clients of those who read it.
`, printable(personName(who)), c.Network)
			if err := confirm(o, "Go on?"); err != nil {
				return err
			}
		}
		n, err := db.Forget(ctx, who)
		if err != nil {
			return err
		}
		fmt.Fprintf(o.out, "%s on %s: %s wiped, %s dropped, and %s asked to forget the rest.\n", printable(personName(who)), who.Network,
			are(n.Events, "author and excerpt was", "authors and excerpts were"), are(n.Deliveries, "delivery was", "deliveries were"), are(n.Networks, "network is", "networks are"))
		fmt.Fprintln(o.out, "Processes that run follow at once, others when they start.")
		if n.Events == 0 {
			fmt.Fprintln(o.err, "note: no message of such an author is known; the address must be as `lockbridge trace` shows it for a message of theirs; a member of a room that hides addresses is named by ROOM/NICK")
		}
		return nil
	})
}

// meant finds whom the operator named otherwise than by the address by which messages are known. Nobody stays as named.
func meant(ctx context.Context, db *store.Beside, who *gateway.Person) error {
	people, err := db.Authors(ctx, who.Network, who.ID)
	switch {
	case err != nil:
		return err
	case len(people) > 1:
		var all strings.Builder
		for _, p := range people {
			all.WriteString("\n  " + printable(personName(p)))
		}
		return fmt.Errorf("nothing was changed: %d people have been called that; name one by the address in brackets:%s", len(people), all.String())
	case len(people) == 1:
		*who = people[0]
	}
	return nil
}
