package omemo

import (
	"context"
	"slices"
	"strings"
	"testing"
)

func TestJudged(t *testing.T) {
	ctx := context.Background()
	pinned, both, verified, bad := IdentityKey{1}, IdentityKey{2}, IdentityKey{3}, IdentityKey{4}
	m := NewManager(newMapStore(), Options{Pins: map[string][]IdentityKey{"a@b.example": {pinned, both}}})
	for key, trust := range map[IdentityKey]Trust{both: Distrusted, verified: Verified, bad: Distrusted} {
		if err := m.Decide(ctx, "a@b.example", key, trust); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Decide(ctx, "a@b.example", bad, Undecided); err != nil { // taken back
		t.Fatal(err)
	}
	if err := m.Decide(ctx, "c@d.example", bad, Distrusted); err != nil {
		t.Fatal(err)
	}
	got, err := m.Judged(ctx)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b Judgement) int { return strings.Compare(string(a.Identity[:]), string(b.Identity[:])) })
	want := []Judgement{
		{"a@b.example", pinned, Verified, false, true},
		{"a@b.example", both, Distrusted, true, true},
		{"a@b.example", verified, Verified, true, false},
		{"c@d.example", bad, Distrusted, true, false},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
