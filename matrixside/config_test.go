package matrixside

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// block is a config block that sets a Config's fields.
type block func(*Config)

func (b block) Decode(into any) []gateway.Problem {
	b(into.(*Config))
	return nil
}

func TestParseFillsInDefaults(t *testing.T) {
	cfg, problems := Parse(block(func(c *Config) {
		c.Homeserver, c.Domain, c.Listen = "http://127.0.0.1:8008", "example.org", "127.0.0.1:29331"
	}))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if cfg.URL != "http://127.0.0.1:29331" || cfg.Nick != "lockbridge" || cfg.UserPrefix != "lb_" || cfg.Registration != "registration.yaml" {
		t.Errorf("%+v", cfg)
	}
}

func TestParseReportsEverythingAtOnce(t *testing.T) {
	_, problems := Parse(block(func(c *Config) {
		*c = Config{Homeserver: "matrix.example.org", Domain: "@example.org", Listen: "29330", URL: "127.0.0.1:29330", UserPrefix: "LB ", Nick: ""}
	}))
	var keys []string
	for _, p := range problems {
		if p.Text == "" || p.Remedy == "" {
			t.Errorf("%q says too little", p)
		}
		keys = append(keys, p.Key)
	}
	if got := strings.Join(keys, " "); got != "homeserver domain listen url registration user_prefix nick" {
		t.Errorf("problems with %s", got)
	}
	_, problems = Parse(block(func(*Config) {}))
	if len(problems) != 2 {
		t.Errorf("an empty block: %v", problems)
	}
}

func testConfig(t *testing.T) Config {
	t.Helper()
	cfg := defaults()
	cfg.Homeserver, cfg.Domain, cfg.URL = "http://127.0.0.1:8008", "example.org", "http://127.0.0.1:29330"
	cfg.Registration = filepath.Join(t.TempDir(), "registration.yaml")
	return cfg
}

func TestARegistrationIsWrittenOnce(t *testing.T) {
	cfg := testConfig(t)
	must(t, WriteRegistration(cfg, cfg.Registration))
	info, err := os.Stat(cfg.Registration)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	first, err := os.ReadFile(cfg.Registration)
	must(t, err)
	must(t, WriteRegistration(cfg, cfg.Registration))
	second, err := os.ReadFile(cfg.Registration)
	must(t, err)
	if string(first) != string(second) {
		t.Error("an existing file was written over")
	}
	if problems := CheckRegistration(cfg); len(problems) > 0 {
		t.Error(problems)
	}
	for _, want := range []string{"receive_ephemeral: true", "de.sorunome.msc2409.push_ephemeral: true", "org.matrix.msc3202: true", "io.element.msc4190: true",
		"rate_limited: false", `regex: '@lb_.+:example\.org'`, `regex: '#lb_.+:example\.org'`, "sender_localpart: lockbridge"} {
		if !strings.Contains(string(first), want) {
			t.Errorf("%s is not in\n%s", want, first)
		}
	}
	if err := WriteRegistration(cfg, filepath.Join(cfg.Registration, "below a file")); err == nil {
		t.Error("a file that cannot be made is no error")
	}
}

func TestCheckRegistrationComparesTheFile(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		key    string
	}{
		"url":    {func(c *Config) { c.URL = "http://127.0.0.1:1" }, "url"},
		"nick":   {func(c *Config) { c.Nick = "other" }, "nick"},
		"prefix": {func(c *Config) { c.UserPrefix = "xx_" }, "user_prefix"},
		"domain": {func(c *Config) { c.Domain = "example.com" }, "user_prefix"},
		"none":   {func(c *Config) { c.Registration += ".not" }, "registration"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			must(t, WriteRegistration(cfg, cfg.Registration))
			c.change(&cfg)
			problems := CheckRegistration(cfg)
			if len(problems) != 1 || problems[0].Key != c.key || problems[0].Remedy == "" {
				t.Errorf("problems: %v", problems)
			}
		})
	}
}

func TestCheckRegistrationNamesABrokenFile(t *testing.T) {
	cfg := testConfig(t)
	must(t, os.WriteFile(cfg.Registration, []byte("id: [\n"), 0o600))
	if problems := CheckRegistration(cfg); len(problems) != 1 {
		t.Errorf("broken YAML: %v", problems)
	}
	must(t, os.WriteFile(cfg.Registration, []byte("id: x\nnamespaces: {users: [{regex: '@lb_(', exclusive: true}, {regex: '@lb_.*', exclusive: false}]}\n"), 0o600))
	if problems := CheckRegistration(cfg); len(problems) != 4 { // tokens, url, nick, users
		t.Errorf("an empty registration: %v", problems)
	}
	reg := newRegistration(cfg)
	reg.Namespaces.Aliases[0].Exclusive = false
	if problems := reg.compare(cfg); len(problems) != 1 || !strings.Contains(problems[0].Text, "aliases") {
		t.Errorf("aliases that anybody may take: %v", problems)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	cfg := testConfig(t)
	deps := gateway.Deps{Network: "matrix", State: sidetest.NewState(), Metrics: prometheus.NewRegistry()}
	if _, err := New(cfg, deps); err == nil {
		t.Error("made without a registration")
	}
	must(t, WriteRegistration(cfg, cfg.Registration))
	deps.Rooms = []gateway.Room{lobby("lobby"), lobby("#lobby:example.org"), lobby("!a\x00b")}
	if _, err := New(cfg, deps); err == nil || strings.Count(err.Error(), "neither") != 2 {
		t.Errorf("rooms that are none: %v", err)
	}
}
