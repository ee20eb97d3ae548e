//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"lockbridge/testbed/peers"
)

// eachOf runs a function for 0 to n-1, four at once, and returns when all are done.
func eachOf(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var all sync.WaitGroup
	free, failed := make(chan struct{}, 4), make([]error, n)
	for i := range n {
		free <- struct{}{}
		all.Go(func() {
			failed[i] = do(i)
			<-free
		})
	}
	all.Wait()
	for _, err := range failed {
		ok(t, err)
	}
}

func TestTenMembersWithThreeDevicesEach(t *testing.T) {
	onOneStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		const members, devices = 10, 3
		all := make([]*peers.XMPPClient, members*devices)
		all[0] = s.Owner
		eachOf(t, members, func(i int) (err error) {
			nick := "Juliet"
			if i > 0 {
				nick = fmt.Sprintf("Member%d", i)
				if all[i*devices], err = s.RoomMember(ctx, nick, peers.XMPPOptions{OMEMO: peers.Legacy}); err != nil {
					return err
				}
			}
			for n := i*devices + 1; n < (i+1)*devices; n++ {
				if all[n], err = s.SecondDevice(ctx, all[i*devices], fmt.Sprintf("device%d", n)); err != nil {
					return err
				}
				if err = all[n].Join(ctx, s.Room, nick); err != nil {
					return err
				}
			}
			return nil
		})
		ok(t, s.Start(ctx))
		fromMatrix(ctx, t, s, "To all of you", all...)
		for i := 0; i < len(all); i += 2*devices + 1 { // of some members another device
			fromXMPP(ctx, t, s, all[i], fmt.Sprintf("From number %d", i))
		}
		fromMatrix(ctx, t, s, "To all of you again", all...)
		fromIRC(ctx, t, s, "From Mercutio to all of you", all...)
		nothingCrossedInTheClear(t, s)
	})
}

func TestFiftyPuppetsInARoom(t *testing.T) {
	onOneStore(t, peers.SceneOptions{Sealed: true, MaxPuppets: 60}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		const people = 50
		users := make([]*peers.Matrix, people)
		eachOf(t, people, func(i int) (err error) {
			if users[i], err = s.MatrixUser(ctx, fmt.Sprintf("guest%d", i)); err != nil {
				return err
			}
			return users[i].Join(ctx, s.Alias)
		})
		ok(t, s.Start(ctx))
		for round, text := range []string{"I am guest %d.", "I am still guest %d."} {
			for i, u := range users {
				must[string](t)(u.Say(ctx, s.MatrixRoom, fmt.Sprintf(text, i)))
			}
			for i, u := range users {
				e := must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, s.Room, fmt.Sprintf(text, i)))
				if round > 0 && e.Real != s.MatrixName(u) {
					t.Errorf("guest %d speaks as %s", i, e.Real)
				}
			}
		}
		for _, text := range []string{"Welcome, all of you", "Dance, all of you"} {
			fromXMPP(ctx, t, s, s.Owner, text)
		}
		fromMatrix(ctx, t, s, "Thanks from everybody")
		once(t, s, "Welcome, all of you")
		nothingCrossedInTheClear(t, s)
	})
}
