package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
)

// operatorTime bounds a command that works beside a running gateway.
const operatorTime = 30 * time.Second

// beside opens the store beside whatever runs on it, and calls fn with it; limit bounds how long that takes.
func (c configFlag) beside(o output, limit time.Duration, fn func(ctx context.Context, cfg *config, db *store.Beside) error) error {
	cfg, f, err := load(c.Config, kinds())
	if err != nil {
		return err
	}
	// What else is missing in this shell, such as passwords of networks, is no concern of these commands.
	if f.broken() || cfg.key == nil || f.unresolved["store.url"] {
		f.print(o.err, true)
		return errReported
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	db, err := store.OpenBeside(ctx, store.Config{URL: cfg.Store.URL, Key: cfg.key})
	if err != nil {
		return err // says what was attempted
	}
	defer db.Close()
	return fn(ctx, cfg, db)
}

// jsonFlag is shared by the commands that print tables.
type jsonFlag struct {
	JSON bool `name:"json" help:"Print JSON, for programs."`
}

func printJSON(o output, v any) error {
	e := json.NewEncoder(o.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// laneName is how commands write a room: NETWORK/ROOM.
func laneName(a gateway.Address) string { return a.Network + "/" + a.ID }

// parseLane reads what laneName wrote, or the name of a network alone.
func parseLane(s string) gateway.Address {
	network, room, _ := strings.Cut(s, "/")
	return gateway.Address{Network: network, ID: room}
}

// in reports whether a lane is the one that is asked for, or of the network that is.
func in(lane, asked gateway.Address) bool {
	return lane.Network == asked.Network && (asked.ID == "" || lane.ID == asked.ID)
}

// personName writes what somebody is called, and by which address.
func personName(p gateway.Person) string {
	if name := gateway.CleanName(p.Name); name != "" && name != p.ID {
		return name + " (" + p.ID + ")"
	}
	return p.ID
}

// noLane says that a lane is not among those there are.
func noLane(what, asked string, known []string) error {
	if len(known) == 0 {
		return fmt.Errorf("%s in %s, nor anywhere else", what, asked)
	}
	slices.Sort(known)
	return fmt.Errorf("%s in %s: the nearest lane is %s", what, asked, nearest(asked, slices.Compact(known)))
}

// confirm asks a question that only "y" or "yes" answers.
func confirm(o output, question string) error {
	fmt.Fprintf(o.err, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(o.in).ReadString('\n')
	if !isTerminal(o.in) {
		fmt.Fprintln(o.err) // nobody typed the end of the line
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("nothing was changed (--yes goes on without asking)")
}
