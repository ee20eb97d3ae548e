package store

import (
	"context"
	"slices"
	"strings"

	"lockbridge/gateway"
)

// Authors finds the authors on a network whom an operator may mean. Somebody with exactly that ID is the only one;
// otherwise all whose ID differs in case only, who have been called so, or who have been called so in a room that is
// named before ("ROOM/NICK", as members of a room that hides addresses are known). Each comes once, by what they were
// called last. It reads all events; who wrote them is sealed.
func (b *Beside) Authors(ctx context.Context, network, called string) ([]gateway.Person, error) {
	found := map[string]gateway.Person{}
	for after := (&place{}); after != nil; {
		var err error
		after, err = b.eachAuthor(ctx, *after, func(at place, author gateway.Person) {
			if author.Network != network {
				return
			}
			_, known := found[author.ID]
			if known || strings.EqualFold(author.ID, called) || author.Name == called || at.room+"/"+author.Name == called {
				found[author.ID] = author
			}
		})
		if err != nil {
			return nil, err
		}
	}
	if p, exact := found[called]; exact {
		return []gateway.Person{p}, nil
	}
	var all []gateway.Person
	for _, p := range found {
		all = append(all, p)
	}
	slices.SortFunc(all, func(p, q gateway.Person) int { return strings.Compare(p.ID, q.ID) })
	return all, nil
}
