package matrixside

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"

	"gopkg.in/yaml.v3"

	"lockbridge/gateway"
)

// registration is the file that tells a homeserver about us (Application Service API, "Registration"). Ephemeral and
// device events are asked for from the first version on: a homeserver reads the file only when it starts, and nobody
// should have to exchange it for a later feature.
type registration struct {
	ID              string     `yaml:"id"`
	URL             string     `yaml:"url"`
	ASToken         string     `yaml:"as_token"`
	HSToken         string     `yaml:"hs_token"`
	SenderLocalpart string     `yaml:"sender_localpart"`
	RateLimited     bool       `yaml:"rate_limited"`
	Ephemeral       bool       `yaml:"receive_ephemeral"`
	EphemeralDraft  bool       `yaml:"de.sorunome.msc2409.push_ephemeral"`
	DeviceEvents    bool       `yaml:"org.matrix.msc3202"`
	DeviceCreation  bool       `yaml:"io.element.msc4190"`
	Namespaces      namespaces `yaml:"namespaces"`
}

type namespaces struct {
	Users   []namespace `yaml:"users"`
	Aliases []namespace `yaml:"aliases"`
	Rooms   []namespace `yaml:"rooms"`
}

type namespace struct {
	Regex     string `yaml:"regex"`
	Exclusive bool   `yaml:"exclusive"`
}

const registrationHead = `# The application service of Lockbridge. The homeserver reads this file when it starts (Synapse: app_service_config_files);
# Lockbridge reads the tokens from it. Keep it secret: who has it can speak for everybody in its namespaces.
`

// newRegistration describes cfg, with fresh tokens of 260 random bits each.
func newRegistration(cfg Config) registration {
	suffix := ".+:" + regexp.QuoteMeta(cfg.Domain)
	return registration{
		ID:              cfg.Nick,
		URL:             cfg.URL,
		ASToken:         rand.Text() + rand.Text(),
		HSToken:         rand.Text() + rand.Text(),
		SenderLocalpart: cfg.Nick,
		Ephemeral:       true,
		EphemeralDraft:  true,
		DeviceEvents:    true,
		DeviceCreation:  true,
		Namespaces: namespaces{
			Users:   []namespace{{Regex: "@" + regexp.QuoteMeta(cfg.UserPrefix) + suffix, Exclusive: true}},
			Aliases: []namespace{{Regex: "#" + regexp.QuoteMeta(cfg.UserPrefix) + suffix, Exclusive: true}},
			Rooms:   []namespace{},
		},
	}
}

// WriteRegistration makes the registration file at path, with mode 0600 and random tokens. A file that exists is kept,
// since the homeserver has its tokens.
func WriteRegistration(cfg Config, path string) error {
	body, err := yaml.Marshal(newRegistration(cfg))
	if err != nil {
		return fmt.Errorf("write registration: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write registration: %w", err)
	}
	_, err = io.WriteString(f, registrationHead+string(body))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write registration: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// CheckRegistration compares the registration file that cfg names with cfg.
func CheckRegistration(cfg Config) []gateway.Problem {
	reg, err := readRegistration(cfg.Registration)
	if err != nil {
		remedy := "mend the file, or remove it and run `lockbridge registration`"
		if errors.Is(err, fs.ErrNotExist) {
			remedy = "run `lockbridge registration` and hand the file to the homeserver"
		}
		return []gateway.Problem{{Key: "registration", Text: err.Error(), Remedy: remedy}}
	}
	return reg.compare(cfg)
}

func readRegistration(path string) (registration, error) {
	var reg registration
	body, err := os.ReadFile(path)
	if err != nil {
		return reg, fmt.Errorf("read registration: %w", err)
	}
	if err := yaml.Unmarshal(body, &reg); err != nil {
		return reg, fmt.Errorf("read registration %s: %w", path, err)
	}
	return reg, nil
}

func (r registration) compare(cfg Config) []gateway.Problem {
	var problems []gateway.Problem
	differs := func(key, text string) {
		problems = append(problems, gateway.Problem{
			Key: key, Text: text,
			Remedy: fmt.Sprintf("change one of them, in %s at the homeserver, too, and restart it", cfg.Registration),
		})
	}
	if r.ASToken == "" || r.HSToken == "" {
		differs("registration", "the registration lacks as_token or hs_token")
	}
	if r.URL != cfg.URL {
		differs("url", fmt.Sprintf("is %q, but %q in the registration", cfg.URL, r.URL))
	}
	if r.SenderLocalpart != cfg.Nick {
		differs("nick", fmt.Sprintf("is %q, but sender_localpart is %q in the registration", cfg.Nick, r.SenderLocalpart))
	}
	if !r.reserves(newNaming(cfg)) {
		differs("user_prefix", fmt.Sprintf("no exclusive users namespace of the registration covers @%s…:%s", cfg.UserPrefix, cfg.Domain))
	} else if !covers(r.Namespaces.Aliases, fmt.Sprintf("#%s%s:%s", cfg.UserPrefix, aliasMark, cfg.Domain)) {
		differs("user_prefix", fmt.Sprintf("no exclusive aliases namespace of the registration covers #%s…:%s, which direct rooms need", cfg.UserPrefix, cfg.Domain))
	}
	return problems
}

// reserves reports whether one exclusive namespace covers a ghost, whatever its network and name. Homeservers match
// from the beginning of a user id.
func (r registration) reserves(n naming) bool {
	ordinary := n.ghost(gateway.Person{Network: "irc", ID: "Some[one]"})
	strange := n.ghost(gateway.Person{Network: "other_net", ID: "ä@example.org"})
	return covers(r.Namespaces.Users, string(ordinary), string(strange))
}

// covers reports whether one exclusive namespace holds all names.
func covers(spaces []namespace, names ...string) bool {
	return slices.ContainsFunc(spaces, func(ns namespace) bool {
		re, err := regexp.Compile("^(?:" + ns.Regex + ")")
		return err == nil && ns.Exclusive && !slices.ContainsFunc(names, func(name string) bool { return !re.MatchString(name) })
	})
}
