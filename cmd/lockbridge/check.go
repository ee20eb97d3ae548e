package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"
)

type checkCommand struct {
	configFlag

	Connect bool `help:"Also try whether each server can be reached."`
}

// Run ends with 0 where nothing but warnings was found.
func (c checkCommand) Run(o output) error {
	cfg, f, err := load(c.Config, kinds())
	if err != nil {
		return err
	}
	cfg.checkFiles(f)
	errors, warnings := f.print(o.err, false)
	if c.Connect && errors == 0 {
		errors += cfg.connect(o)
	}
	if errors > 0 {
		fmt.Fprintf(o.err, "%s: %s, %s\n", c.Config, count(errors, "error"), count(warnings, "warning"))
		return errReported
	}
	fmt.Fprintf(o.out, "%s is accepted: %s, %s, %s\n", c.Config,
		count(len(cfg.networks), "network"), count(len(cfg.bridges), "bridge"), count(warnings, "warning"))
	return nil
}

// checkFiles looks at the files beside the configuration.
func (c *config) checkFiles(f *findings) {
	c.checkRegistrations(f)
	c.checkEpoch(f)
}

// checkRegistrations compares the files of `lockbridge registration` with the configuration they were made from.
func (c *config) checkRegistrations(f *findings) {
	for _, n := range c.networks {
		if n.kind.compare != nil && n.build != nil && !n.elsewhere {
			missing, problems := n.kind.compare(n.block)
			if missing != "" {
				f.add(finding{key: join("network", n.name) + ".registration", text: missing, remedy: "`lockbridge registration` writes it", absent: true})
				continue
			}
			f.problems(join("network", n.name), problems)
		}
	}
}

// connectTime bounds one attempt of check --connect.
const connectTime = 2 * time.Second

// connect tries each network's server and the database, and returns how many did not answer.
func (c *config) connect(o output) (failed int) {
	try := func(name, address string) {
		ctx, cancel := context.WithTimeout(context.Background(), connectTime)
		defer cancel()
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			failed++
			fmt.Fprintf(o.err, "%s: %s does not answer: %v\n", name, address, err)
			return
		}
		conn.Close()
		fmt.Fprintf(o.out, "%s: %s answers\n", name, address)
	}
	for _, n := range c.networks {
		address, _ := n.block[n.kind.address].(string)
		try(n.name, dialAddress(address))
	}
	if u, err := url.Parse(c.Store.URL); err == nil && u.Host != "" {
		try("store", dialAddress(c.Store.URL))
	}
	return failed
}

// dialAddress makes HOST:PORT of a URL; anything else is one already.
func dialAddress(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return s
	}
	if u.Port() != "" {
		return u.Host
	}
	ports := map[string]string{"http": "80", "https": "443", "postgres": "5432", "postgresql": "5432"}
	return net.JoinHostPort(u.Hostname(), ports[u.Scheme])
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
