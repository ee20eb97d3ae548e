package store_test

import (
	"regexp"
	"testing"

	"lockbridge/store"
	"lockbridge/store/storetest"
)

// allRows matches a step of a plan that goes through all events, or all links, be it of one network.
var allRows = regexp.MustCompile(`SCAN (event|link)\b|SEARCH link .*\(network=\?\)|Seq Scan on (event|link)\b`)

// What people take back and react to costs the same however much the journal holds.
func TestChangesFindTheirRowsByIndex(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			plans, err := open(t, store.Config{URL: d.Make(t)}).PlansOfChanges(t.Context())
			must(t, err)
			for doing, plan := range plans {
				if plan == "" || allRows.MatchString(plan) {
					t.Errorf("%s:\n%s", doing, plan)
				}
			}
		})
	}
}
