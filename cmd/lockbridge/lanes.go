package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"lockbridge/store"
)

type lanesCommand struct {
	configFlag
	jsonFlag
}

// laneView is a lane as programs read it.
type laneView struct {
	Network string `json:"network"`
	Room    string `json:"room"`
	Waiting int    `json:"waiting"`
	Changes int    `json:"changes,omitempty"` // how many of them are edits and reactions
	Oldest  string `json:"oldest,omitempty"`
	Due     string `json:"due,omitempty"`
	Tries   int    `json:"failed_tries"`
	Problem string `json:"problem,omitempty"`
	GivenUp int    `json:"given_up"`
}

// Run lists the rooms for which something waits, or was given up and can be tried again.
func (c lanesCommand) Run(o output) error {
	return c.beside(o, operatorTime, func(ctx context.Context, cfg *config, db *store.Beside) error {
		lanes, err := db.Lanes(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		if c.JSON {
			views := []laneView{}
			for _, l := range lanes {
				views = append(views, laneView{l.Lane.Network, l.Lane.ID, l.Pending, l.Changes, isoTime(l.Oldest), isoTime(l.Due), l.Attempt, cfg.laneProblem(l, now), l.Dead})
			}
			return printJSON(o, views)
		}
		if len(lanes) == 0 {
			fmt.Fprintln(o.out, "nothing waits, and nothing was given up")
			return nil
		}
		t := newTable(o, "", "LANE", "WAITS", "OLDEST", "FAILED TRIES", "NEXT TRY", "GIVEN UP", "WHY")
		for _, l := range lanes {
			problem := cfg.laneProblem(l, now)
			oldest, failed, next, waits := "-", "-", "-", ordinary
			if l.Pending > 0 {
				oldest, failed, next = span(now.Sub(l.Oldest)), strconv.Itoa(l.Attempt), "now"
				if wait := l.Due.Sub(now); wait > 0 {
					next = "in " + span(wait)
				}
				if problem != "" {
					waits = yellow
				}
			}
			pending := strconv.Itoa(l.Pending)
			if l.Changes > 0 {
				pending += fmt.Sprintf(" (%d edits and reactions)", l.Changes)
			}
			dead := cell{strconv.Itoa(l.Dead), ordinary}
			if l.Dead > 0 {
				dead.colour = red
				if problem == "" {
					problem = "`lockbridge dead list` says why they were given up"
				}
			}
			t.row(cell{laneName(l.Lane), ordinary}, cell{pending, waits}, cell{oldest, ordinary}, cell{failed, ordinary}, cell{next, ordinary}, dead, cell{problem, ordinary})
		}
		t.print(o.out)
		return nil
	})
}

// overdue is how long after its time a delivery should have been tried at the latest.
const overdue = time.Minute

// laneProblem says why a lane does not move; "": nothing is known to be wrong.
func (c *config) laneProblem(l store.LaneInfo, now time.Time) string {
	untried := now.Sub(l.Due) > overdue && now.Sub(l.Oldest) > overdue
	switch {
	case l.Pending == 0:
		return ""
	case !slices.Contains(c.networkNames(), l.Lane.Network):
		return "the network is not configured any more"
	case untried && l.Problem == "":
		return "nobody has tried: does a process run this network?"
	case untried:
		return l.Problem + "; and nobody has tried since: does a process run this network?"
	}
	return l.Problem
}
