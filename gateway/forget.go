package gateway

import (
	"context"
	"time"
)

// forgetPause is how long whom to forget is not asked again: messages wake a courier all the time.
const forgetPause = time.Second

// forgets lets the side forget whom operators want forgotten, until stop ends. What fails is tried again.
func (c *courier) forgets(stop context.Context) {
	for stop.Err() == nil {
		if err := c.forget(stop); err != nil && stop.Err() == nil {
			c.log.Warn("cannot forget somebody; trying again", "err", err)
			rest(stop, pollPause)
			continue
		}
		rest(stop, forgetPause)
		timer := time.NewTimer(pollPause)
		select {
		case <-stop.Done():
		case <-c.woken:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (c *courier) forget(ctx context.Context) error {
	people, err := c.g.journal.Forgets(ctx, c.network)
	if err != nil {
		return err
	}
	for _, who := range people {
		if err := c.side.Forget(ctx, who); err != nil {
			return err
		}
		if err := c.g.journal.Forgot(ctx, c.network, who); err != nil {
			return err
		}
		c.log.Info("somebody was forgotten", "home", who.Network)
	}
	return nil
}
