package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/xmppside"
)

// keysFlags are shared by the commands that look at keys.
type keysFlags struct {
	configFlag

	Network string `placeholder:"NAME" help:"The network, where there are several of kind xmpp."`
}

// with opens the store beside whatever runs on it, and calls fn with the keys of the network that is meant.
func (k keysFlags) with(o output, fn func(ctx context.Context, keys *xmppside.Operator) error) error {
	return k.beside(o, operatorTime, func(ctx context.Context, cfg *config, db *store.Beside) error {
		n, err := cfg.keysNetwork(k.Network)
		if err != nil {
			return err
		}
		keys, err := n.kind.keys(n.block, func(own ...string) gateway.State { return db.State(n.name, own...) })
		if err != nil {
			return fmt.Errorf("network %s: %w", n.name, err)
		}
		return fn(ctx, keys)
	})
}

// keysNetwork finds the network whose keys are meant; name is empty where there is one.
func (c *config) keysNetwork(name string) (network, error) {
	var all []network
	var names []string
	for _, n := range c.networks {
		if n.kind.keys != nil {
			all, names = append(all, n), append(names, n.name)
		}
	}
	i := slices.Index(names, name)
	switch {
	case len(all) == 0:
		return network{}, fmt.Errorf("no network of kind xmpp is configured, and only those have keys")
	case name == "" && len(all) == 1:
		return all[0], nil
	case name == "":
		return network{}, fmt.Errorf("several networks have keys: name one by --network, of %s", strings.Join(names, ", "))
	case i < 0:
		return network{}, fmt.Errorf("no network of kind xmpp is called %q: the nearest one is %s", name, nearest(name, names))
	}
	return all[i], nil
}
