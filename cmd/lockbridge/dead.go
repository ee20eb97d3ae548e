package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
)

type deadCommand struct {
	List  deadListCommand  `cmd:"" help:"List deliveries that were given up, with the reason."`
	Retry deadRetryCommand `cmd:"" help:"Try them again."`
	Drop  deadDropCommand  `cmd:"" help:"Drop them, and wipe their text."`
}

type deadListCommand struct {
	configFlag
	jsonFlag

	Lane string `arg:"" optional:"" help:"Of one room, as lockbridge lanes writes it, or of one network (default: all)."`
}

// deadView is a dead letter as programs read it.
type deadView struct {
	deliveryView
	Event       string `json:"event"`
	FromNetwork string `json:"from_network"`
	FromRoom    string `json:"from_room"`
	Author      string `json:"author,omitempty"`
	Kept        bool   `json:"text_kept"`
}

// Run prints a table.
func (c deadListCommand) Run(o output) error {
	return c.beside(o, operatorTime, func(ctx context.Context, _ *config, db *store.Beside) error {
		letters, err := deadIn(ctx, db, c.Lane)
		if err != nil {
			return err
		}
		if c.JSON {
			views := []deadView{}
			for _, l := range letters {
				views = append(views, deadView{viewDelivery(l.DeliveryTrace, time.Time{}), l.Event.String(), l.From.Network, l.From.ID, l.Author.ID, l.Kept})
			}
			return printJSON(o, views)
		}
		if len(letters) == 0 {
			fmt.Fprintln(o.out, "nothing was given up")
			return nil
		}
		now := time.Now()
		t := newTable(o, "", "NUMBER", "LANE", "FROM", "AUTHOR", "GIVEN UP", "FAILED TRIES", "TEXT", "WHY")
		for _, l := range letters {
			text, ended, author := cell{"kept", green}, "-", personName(l.Author)
			if l.Author.IsZero() { // what those who were forgotten said is not among these
				author = "the bridge"
			}
			if !l.Kept {
				text = cell{"wiped", dim}
			}
			if !l.Ended.IsZero() {
				ended = span(now.Sub(l.Ended)) + " ago"
			}
			t.row(cell{strconv.FormatInt(l.Seq, 10), bold}, cell{laneName(l.Room), ordinary}, cell{laneName(l.From), ordinary}, cell{author, ordinary},
				cell{ended, ordinary}, cell{strconv.Itoa(l.Attempt), ordinary}, text, cell{why(l.DeliveryTrace), red})
		}
		t.print(o.out)
		return nil
	})
}

// deadIn lists what was given up in a lane, a network, or with "" everywhere. A lane without any is an error.
func deadIn(ctx context.Context, db *store.Beside, lane string) ([]store.DeadLetter, error) {
	all, err := db.Dead(ctx, gateway.Address{})
	if err != nil || lane == "" {
		return all, err
	}
	asked := parseLane(lane)
	some := slices.DeleteFunc(slices.Clone(all), func(l store.DeadLetter) bool { return !in(l.Room, asked) })
	if len(some) == 0 {
		var known []string
		for _, l := range all {
			known = append(known, laneName(l.Room))
		}
		return nil, noLane("nothing was given up", lane, known)
	}
	return some, nil
}

// deadArgs say which deliveries are meant: exactly one of the three must be there.
type deadArgs struct {
	configFlag

	Numbers []int64 `arg:"" optional:"" name:"number" help:"Their numbers, as lockbridge dead list shows them."`
	Lane    string  `placeholder:"LANE" help:"All of one room or network instead."`
	All     bool    `help:"All there are instead."`
}

// meant finds them. A number that is none is an error, so that a mistake changes nothing.
func (a deadArgs) meant(ctx context.Context, db *store.Beside) ([]store.DeadLetter, error) {
	ways := 0
	for _, used := range []bool{len(a.Numbers) > 0, a.Lane != "", a.All} {
		if used {
			ways++
		}
	}
	if ways != 1 {
		return nil, errors.New("say which: numbers, --lane LANE or --all")
	}
	letters, err := deadIn(ctx, db, a.Lane)
	if err != nil || len(a.Numbers) == 0 {
		return letters, err
	}
	some := letters[:0:0]
	for _, n := range a.Numbers {
		i := slices.IndexFunc(letters, func(l store.DeadLetter) bool { return l.Seq == n })
		if i < 0 {
			return nil, fmt.Errorf("no delivery that was given up has the number %d; nothing was changed (see lockbridge dead list)", n)
		}
		some = append(some, letters[i])
	}
	return some, nil
}

type deadRetryCommand struct{ deadArgs }

// Run has them tried again, except those whose text is gone.
func (c deadRetryCommand) Run(o output) error {
	return c.beside(o, operatorTime, func(ctx context.Context, _ *config, db *store.Beside) error {
		letters, err := c.meant(ctx, db)
		if err != nil {
			return err
		}
		var numbers []int64
		for _, l := range letters {
			if l.Kept {
				numbers = append(numbers, l.Seq)
			} else if len(c.Numbers) > 0 {
				fmt.Fprintf(o.err, "note: the text of %d is gone, so it cannot be tried again\n", l.Seq)
			}
		}
		n, err := db.Retry(ctx, numbers...)
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("there is nothing that could be tried again")
		}
		fmt.Fprintf(o.out, "%s tried again, at once where a process runs; `lockbridge lanes` shows what becomes of it\n", are(n, "delivery is", "deliveries are"))
		if left := len(letters) - n; left > 0 {
			fmt.Fprintf(o.out, "%s left: the text is gone\n", are(left, "delivery is", "deliveries are"))
		}
		return nil
	})
}

type deadDropCommand struct {
	deadArgs

	Yes bool `help:"Do not ask, with --lane and --all."`
}

// Run drops them.
func (c deadDropCommand) Run(o output) error {
	return c.beside(o, personTime, func(ctx context.Context, _ *config, db *store.Beside) error {
		letters, err := c.meant(ctx, db)
		if err != nil {
			return err
		}
		if len(letters) == 0 {
			fmt.Fprintln(o.out, "nothing was given up")
			return nil
		}
		if len(c.Numbers) == 0 && !c.Yes {
			if err := confirm(o, are(len(letters), "delivery", "deliveries")+" would be dropped and the text wiped. Go on?"); err != nil {
				return err
			}
		}
		numbers := make([]int64, len(letters))
		for i, l := range letters {
			numbers[i] = l.Seq
		}
		n, err := db.Discard(ctx, numbers...)
		if err != nil {
			return err
		}
		fmt.Fprintf(o.out, "%s dropped\n", are(n, "delivery was", "deliveries were"))
		return nil
	})
}

func are(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
