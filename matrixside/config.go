package matrixside

import (
	"net"
	"net/url"
	"strconv"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// Config is one [network.NAME] block of kind "matrix".
type Config struct {
	Homeserver   string `toml:"homeserver"`   // base URL of the client-server API
	Domain       string `toml:"domain"`       // the server name: what follows the colon in a user id
	Listen       string `toml:"listen"`       // host:port where we listen for the homeserver
	URL          string `toml:"url"`          // how the homeserver reaches Listen; http://Listen if empty
	Registration string `toml:"registration"` // the registration file that the homeserver loads, too
	UserPrefix   string `toml:"user_prefix"`  // what the localparts of ghosts begin with
	Nick         string `toml:"nick"`         // the bot's localpart (sender_localpart) and display name
}

// defaults is the configuration of a block that names nothing.
func defaults() Config {
	return Config{
		Listen:       "127.0.0.1:29330",
		Registration: "registration.yaml",
		UserPrefix:   "lb_",
		Nick:         "lockbridge",
	}
}

// Parse reads a block. It reports everything that is wrong with it at once; the Config is usable only if nothing is.
func Parse(b gateway.Block) (Config, []gateway.Problem) {
	cfg := defaults()
	problems := b.Decode(&cfg)
	if cfg.URL == "" {
		cfg.URL = "http://" + cfg.Listen
	}
	return cfg, append(problems, cfg.check()...)
}

func (c Config) check() []gateway.Problem {
	var problems []gateway.Problem
	wrong := func(key, text, remedy string) {
		problems = append(problems, gateway.Problem{Key: key, Text: text, Remedy: remedy})
	}
	switch {
	case c.Homeserver == "":
		wrong("homeserver", "is missing", `name the homeserver's client-server API, as in "http://127.0.0.1:8008"`)
	case !webURL(c.Homeserver):
		wrong("homeserver", "is not an http or https URL", `write it as in "http://127.0.0.1:8008"`)
	}
	switch {
	case c.Domain == "":
		wrong("domain", "is missing", "name the part after the colon in @user:example.org")
	case !id.ValidateServerName(c.Domain):
		wrong("domain", "is not a Matrix server name", "name the part after the colon in @user:example.org, without the colon")
	}
	if !hostPort(c.Listen) {
		wrong("listen", "is not an address with a port", `write it as in "127.0.0.1:29330"`)
	}
	if !webURL(c.URL) {
		wrong("url", "is not an http or https URL", `say how the homeserver reaches listen, as in "http://127.0.0.1:29330"`)
	}
	if c.Registration == "" {
		wrong("registration", "is empty", `name a file, as in "registration.yaml"`)
	}
	if id.ValidateUserLocalpart(c.UserPrefix) != nil || len(c.UserPrefix) > maxPrefix {
		wrong("user_prefix", "cannot begin a Matrix user name", "use 1 to 32 of a-z, 0-9 and ._=-/+ as in lb_")
	}
	if id.ValidateUserLocalpart(c.Nick) != nil || len(c.Nick) > maxPrefix {
		wrong("nick", "cannot be a Matrix user name", "use 1 to 32 of a-z, 0-9 and ._=-/+ as in lockbridge")
	}
	return problems
}

// maxPrefix bounds user_prefix and nick, in bytes, so that something of a ghost's user id is left for its person.
const maxPrefix = 32

func webURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.User == nil
}

func hostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
