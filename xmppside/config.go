package xmppside

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"mellium.im/xmpp/jid"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// Config is a [network.NAME] block of kind xmpp.
type Config struct {
	Kind      string `toml:"kind"`
	Component string `toml:"component"` // our domain, as the server knows it
	Server    string `toml:"server"`    // host:port of the server's component listener
	Secret    string `toml:"secret"`
	Nick      string `toml:"nick"`   // localpart and occupant nick of the gateway itself
	Upload    string `toml:"upload"` // XEP-0363 service; empty: found by disco
	OMEMO     OMEMO  `toml:"omemo"`
}

// OMEMO is the [network.NAME.omemo] table.
type OMEMO struct {
	Versions []string `toml:"versions"`
	Trust    string   `toml:"trust"`
	// Pins are fingerprints by bare JID that count as verified.
	Pins map[string][]string `toml:"pins"`
}

// The values of the omemo table.
const (
	versionLegacy = "legacy"
	versionTwo    = "omemo:2"
	trustBlind    = "blind-before-verification"
	trustVerified = "verified-only"
)

// Parse decodes and checks a block. All that is wrong with it is reported at once.
func Parse(b gateway.Block) (Config, []gateway.Problem) {
	cfg := Config{
		Server: "127.0.0.1:5347", Nick: "lockbridge",
		OMEMO: OMEMO{Versions: []string{versionLegacy}, Trust: trustBlind},
	}
	problems := b.Decode(&cfg)
	return cfg, append(problems, cfg.check()...)
}

func (c Config) check() []gateway.Problem {
	var bad []gateway.Problem
	add := func(key, remedy, format string, args ...any) {
		bad = append(bad, gateway.Problem{Key: key, Text: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	switch domain, err := jid.Parse(c.Component); {
	case c.Component == "":
		add("component", `for example component = "bridge.example.org"`, "the component's domain is missing")
	case err != nil || domain.Localpart() != "" || domain.Resourcepart() != "":
		add("component", "write a domain, without user and resource", "%q is no domain", c.Component)
	}
	if _, port, err := net.SplitHostPort(c.Server); err != nil || port == "" {
		add("server", `write "host:port", usually port 5347`, "%q is no address of a server", c.Server)
	}
	if c.Secret == "" {
		add("secret", "set the secret that the server's config gives this component", "the secret is missing")
	}
	if !legalNick(c.Nick) {
		add("nick", `a plain word such as "lockbridge"`, "%q can be neither the user part of an address nor a nick", c.Nick)
	}
	if c.Upload != "" {
		if _, err := jid.Parse(c.Upload); err != nil {
			add("upload", "write the upload service's domain, or leave it empty", "%q is no address", c.Upload)
		}
	}
	return append(bad, c.OMEMO.check()...)
}

// legalNick asks that the nick makes the same localpart, and that no puppet's address can equal it.
func legalNick(nick string) bool {
	j, err := jid.New(nick, "example.org", nick)
	return err == nil && nick != "" && j.Localpart() == strings.ToLower(nick) && !strings.Contains(nick, puppetMark)
}

func (o OMEMO) check() []gateway.Problem {
	var bad []gateway.Problem
	for _, v := range o.Versions {
		if v != versionLegacy && v != versionTwo {
			bad = append(bad, gateway.Problem{Key: "omemo.versions", Text: fmt.Sprintf("%q is no version of OMEMO", v), Remedy: `"legacy" or "omemo:2"`})
		}
	}
	if !slices.Contains(o.Versions, versionLegacy) {
		bad = append(bad, gateway.Problem{Key: "omemo.versions", Text: `"legacy" is not among the versions`, Remedy: "add it: nearly every client speaks nothing else"})
	}
	if o.Trust != trustBlind && o.Trust != trustVerified {
		bad = append(bad, gateway.Problem{Key: "omemo.trust", Text: fmt.Sprintf("%q is no trust policy", o.Trust), Remedy: fmt.Sprintf("%q or %q", trustBlind, trustVerified)})
	}
	_, problems := o.pins()
	return append(bad, problems...)
}

// pins reads the pinned keys by normalised address.
func (o OMEMO) pins() (map[string][]omemo.IdentityKey, []gateway.Problem) {
	pins := make(map[string][]omemo.IdentityKey, len(o.Pins))
	var bad []gateway.Problem
	for _, who := range slices.Sorted(maps.Keys(o.Pins)) {
		at := "omemo.pins." + who
		j := normalBare(who)
		if j == "" || !strings.Contains(j, "@") || strings.Contains(who, "/") {
			bad = append(bad, gateway.Problem{Key: at, Text: fmt.Sprintf("%q is no address of a person", who), Remedy: `for example "juliet@example.org" = ["FINGERPRINT"]`})
			continue
		}
		for i, fingerprint := range o.Pins[who] {
			key, err := omemo.ParseFingerprint(fingerprint)
			if err != nil {
				bad = append(bad, gateway.Problem{Key: fmt.Sprintf("%s.%d", at, i), Text: "is no fingerprint", Remedy: "64 hexadecimal digits in any grouping, as clients show them"})
				continue
			}
			pins[j] = append(pins[j], key)
		}
	}
	return pins, bad
}

// options are what the table means to the keys' keeper.
func (o OMEMO) options() omemo.Options {
	pins, _ := o.pins() // the problems were found when the table was read
	options := omemo.Options{Pins: pins}
	if o.Trust == trustVerified {
		options.Trust = omemo.VerifiedOnly
	}
	return options
}
