package ircside

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

// block is a gateway.Block that sets what set does.
type block struct {
	set      func(*Config)
	problems []gateway.Problem
}

func (b block) Decode(into any) []gateway.Problem {
	cfg, _ := into.(*Config)
	b.set(cfg)
	return b.problems
}

func good(c *Config) { c.Server, c.Nick = "irc.example.org:6697", "Lock-Bridge1" }

func TestParseDefaults(t *testing.T) {
	cfg, problems := Parse(block{set: good})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := Config{
		Server: "irc.example.org:6697", TLS: true, Nick: "Lock-Bridge1", User: "lockbridge", Realname: "Lockbridge", Mode: "relay",
		Pace: Pace{Burst: 4, Every: 1200 * time.Millisecond}, MaxLines: 10,
		Joins: "off", Reactions: "tags", CorrectAfter: 5 * time.Second,
	}
	if cfg != want {
		t.Errorf("got %+v, want %+v", cfg, want)
	}
}

func TestParseReportsEveryProblem(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		set  func(*Config)
		want string // the keys
	}{
		"nothing at all":   {func(*Config) {}, "server nick"},
		"no port":          {func(c *Config) { good(c); c.Server = "irc.example.org" }, "server"},
		"bad port":         {func(c *Config) { good(c); c.Server = "irc.example.org:70000" }, "server"},
		"bad nick":         {func(c *Config) { good(c); c.Nick = "9 lives" }, "nick"},
		"foreign nick":     {func(c *Config) { good(c); c.Nick = "löck" }, "nick"},
		"injection":        {func(c *Config) { good(c); c.User, c.Realname, c.Password = "a b", "x\nQUIT", "y\r" }, "user realname password"},
		"strange choices":  {func(c *Config) { good(c); c.Joins, c.Reactions = "yes", "emoji" }, "joins reactions"},
		"all choices":      {func(c *Config) { good(c); c.Joins, c.Reactions, c.Hold = "on", "text", time.Minute }, ""},
		"long waits":       {func(c *Config) { good(c); c.Hold = time.Hour }, "hold"},
		"negative waits":   {func(c *Config) { good(c); c.CorrectAfter = -1 }, "correct_after"},
		"sasl in clear":    {func(c *Config) { good(c); c.TLS = false; c.SASL = SASL{"u", "p"} }, "sasl"},
		"password clear":   {func(c *Config) { good(c); c.TLS = false; c.Password = "p" }, "password"},
		"sasl on loopback": {func(c *Config) { good(c); c.Server = "127.0.0.1:6667"; c.TLS = false; c.SASL = SASL{"u", "p"} }, ""},
		"sasl on ::1":      {func(c *Config) { good(c); c.Server = "[::1]:6667"; c.TLS = false; c.SASL = SASL{"u", "p"} }, ""},
		"half a sasl":      {func(c *Config) { good(c); c.SASL.User = "u" }, "sasl.password"},
		"the other half":   {func(c *Config) { good(c); c.SASL.Password = "p" }, "sasl.user"},
		"mode":             {func(c *Config) { good(c); c.Mode = "puppets" }, "mode"},
		"pace":             {func(c *Config) { good(c); c.Pace = Pace{Every: -1} }, "pace.burst pace.every"},
		"lines":            {func(c *Config) { good(c); c.MaxLines = 0 }, "max_lines"},
		"no such ca":       {func(c *Config) { good(c); c.TLSCA = empty + "x" }, "tls_ca"},
		"empty ca":         {func(c *Config) { good(c); c.TLSCA = empty }, "tls_ca"},
		"ca without tls":   {func(c *Config) { good(c); c.TLS = false; c.TLSCA = empty }, "tls_ca"},
		"many": {func(c *Config) { c.Nick = "a b"; c.MaxLines = -1; c.TLS = false; c.SASL = SASL{"u", "p"} },
			"server nick sasl max_lines"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := Parse(block{set: c.set})
			var keys []string
			for _, p := range problems {
				keys = append(keys, p.Key)
				if p.Text == "" || p.Remedy == "" {
					t.Errorf("%v tells too little", p)
				}
			}
			if got := strings.Join(keys, " "); got != c.want {
				t.Errorf("problems %q, want %q", got, c.want)
			}
		})
	}
	if _, problems := Parse(block{set: good, problems: []gateway.Problem{{Key: "colour"}}}); len(problems) != 1 {
		t.Errorf("the block's own problems are lost: %v", problems)
	}
}

func TestNewRefusesRooms(t *testing.T) {
	_, err := New(defaults(), gateway.Deps{Log: slog.New(slog.DiscardHandler), Rooms: []gateway.Room{
		{Address: gateway.Address{ID: "#a b"}, Bridge: "one"}, {Address: gateway.Address{ID: "#ok"}, Password: "a,b", Bridge: "two"},
		{Address: gateway.Address{ID: "#" + strings.Repeat("x", 300)}, Bridge: "three"},
	}})
	for _, want := range []string{"bridge one", "bridge two", "bridge three"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct {
		m        casemap
		in, want string
	}{
		{casemapRFC1459, `A[]\~^z`, "a{}|~~z"}, {casemapStrict, `A[]\~^z`, "a{}|~^z"}, {"ascii", `A[]\~^z`, `a[]\~^z`},
		{casemapRFC1459, "ÄÖ", "ÄÖ"},
	} {
		if got := c.m.fold(c.in); got != c.want {
			t.Errorf("%s folds %q to %q, want %q", c.m, c.in, got, c.want)
		}
	}
}

func TestEscapeTag(t *testing.T) {
	if got := escapeTag("a; \\\r\n\x00b"); got != `a\:\s\\\r\nb` {
		t.Errorf("got %q", got)
	}
}
