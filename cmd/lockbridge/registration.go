package main

import (
	"fmt"
)

type registrationCommand struct{ configFlag }

// Run writes the registration of every network that has one. A file that exists is kept: the homeserver knows its
// tokens.
func (c registrationCommand) Run(o output) error {
	cfg, f, err := load(c.Config, kinds())
	if err != nil {
		return err
	}
	if errors, _ := f.print(o.err, false); errors > 0 {
		return errReported
	}
	written := 0
	for _, n := range cfg.networks {
		if n.kind.register == nil {
			continue
		}
		path, made, err := n.kind.register(n.block)
		if err != nil {
			return fmt.Errorf("registration of %s: %w", n.name, err)
		}
		written++
		if made {
			fmt.Fprintf(o.out, "%s written; name it in the homeserver's app_service_config_files and restart the homeserver\n", path)
		} else {
			fmt.Fprintf(o.out, "%s exists and is kept\n", path)
		}
	}
	if written == 0 {
		return fmt.Errorf("%s has no network of kind matrix, so there is nothing to register", c.Config)
	}
	return nil
}
