package ircside

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"lockbridge/gateway"
)

// Config is the [network.NAME] block of an IRC network.
type Config struct {
	Server   string `toml:"server"`    // host:port
	TLS      bool   `toml:"tls"`       // on unless switched off; the certificate is always verified
	TLSCA    string `toml:"tls_ca"`    // file of PEM certificates to trust instead of the system's
	Nick     string `toml:"nick"`      // ours, and who the gateway is on this network
	User     string `toml:"user"`      // the user name of USER; default: the nick in lower case
	Realname string `toml:"realname"`  // default: Lockbridge
	Password string `toml:"password"`  // of the server (PASS), rarely needed
	SASL     SASL   `toml:"sasl"`      // the account to log in to; empty: none
	Mode     string `toml:"mode"`      // "relay" is the only one
	Pace     Pace   `toml:"pace"`      // how fast we may speak
	MaxLines int    `toml:"max_lines"` // the most lines that one message becomes

	Joins        string        `toml:"joins"`         // "on": who comes and goes is told in lines; "off"
	Reactions    string        `toml:"reactions"`     // how those of others are shown: "tags", "text" or "off"
	Hold         time.Duration `toml:"hold"`          // for which a message waits for its edits
	CorrectAfter time.Duration `toml:"correct_after"` // for which an edit waits for the next one before it is said
}

// SASL is an account, for SASL PLAIN (RFC 4616).
type SASL struct {
	User     string `toml:"user"`
	Password string `toml:"password"`
}

// Pace limits what we send: Burst lines at once, then one line per Every. Without Every there is no limit, which only a
// server of one's own bears.
type Pace struct {
	Burst int           `toml:"burst"`
	Every time.Duration `toml:"every"`
}

const modeRelay = "relay"

// The values of Config.Joins and Config.Reactions.
const (
	off           = "off"
	joinsOn       = "on"
	reactionsTags = "tags" // TAGMSG, which most clients do not show
	reactionsText = "text" // in a line
)

// defaults are what a block that names nothing gets. The pace stays below what ircds with the strictest flood control
// in use bear for a client without privileges.
func defaults() Config {
	return Config{
		TLS:      true,
		Realname: "Lockbridge",
		Mode:     modeRelay,
		Pace:     Pace{Burst: 4, Every: 1200 * time.Millisecond},
		MaxLines: 10,

		Joins: off, Reactions: reactionsTags, CorrectAfter: 5 * time.Second,
	}
}

// Parse reads and checks a block. It reports everything that is wrong with it at once.
func Parse(b gateway.Block) (Config, []gateway.Problem) {
	cfg := defaults()
	problems := b.Decode(&cfg)
	if cfg.User == "" {
		cfg.User = userFrom(cfg.Nick)
	}
	return cfg, append(problems, cfg.check()...)
}

// userFrom makes a user name of a nick: servers take only letters, digits and a few signs there.
func userFrom(nick string) string {
	user := strings.Map(func(r rune) rune {
		if isASCIILetter(r) || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(nick))
	if user == "" {
		return "lockbridge"
	}
	return user[:min(len(user), 10)]
}

func (c Config) check() []gateway.Problem {
	var out []gateway.Problem
	wrong := func(key, text, remedy string) {
		out = append(out, gateway.Problem{Key: key, Text: text, Remedy: remedy})
	}
	host, port, err := net.SplitHostPort(c.Server)
	switch n, portErr := strconv.Atoi(port); {
	case c.Server == "":
		wrong("server", "is missing", `name the server and its port: server = "irc.example.org:6697"`)
	case err != nil || host == "":
		wrong("server", fmt.Sprintf("%q is not host:port", c.Server), `write it as "irc.example.org:6697"`)
	case portErr != nil || n < 1 || n > 65535:
		wrong("server", fmt.Sprintf("%q is not a port", port), "use 6697 for TLS, 6667 without")
	}
	switch {
	case c.Nick == "":
		wrong("nick", "is missing", `choose the nick that the gateway shall have: nick = "lockbridge"`)
	case !validNick(c.Nick):
		wrong("nick", fmt.Sprintf("%q cannot be a nick", c.Nick), "use ASCII letters, digits and []\\`_^{|}-, and begin with no digit or dash")
	}
	if c.User != "" && strings.ContainsAny(c.User, " @!\r\n\x00:") {
		wrong("user", "holds a character that no user name may have", "use letters and digits")
	}
	for _, v := range [][2]string{{"realname", c.Realname}, {"password", c.Password}} {
		if strings.ContainsAny(v[1], "\r\n\x00") {
			wrong(v[0], "holds a line break", "put it on one line")
		}
	}
	out = append(out, c.checkTLS(host)...)
	if c.Mode != modeRelay {
		wrong("mode", fmt.Sprintf("%q is not known", c.Mode), `the only mode is "relay"`)
	}
	if c.Pace.Burst < 1 || c.Pace.Burst > 10_000 {
		wrong("pace.burst", "must be between 1 and 10000 lines", "4 suits public networks")
	}
	if c.Pace.Every < 0 || c.Pace.Every > time.Minute {
		wrong("pace.every", "must be at most a minute", `"1200ms" suits public networks; "0s", a server of your own without flood control`)
	}
	if c.MaxLines < 1 || c.MaxLines > 1000 {
		wrong("max_lines", "must be between 1 and 1000", "10 suits most channels")
	}
	return append(out, c.checkShown()...)
}

// checkShown finds what is wrong with what is shown of others, and when.
func (c Config) checkShown() []gateway.Problem {
	var out []gateway.Problem
	if c.Joins != off && c.Joins != joinsOn {
		out = append(out, gateway.Problem{Key: "joins", Text: fmt.Sprintf("%q is not known", c.Joins), Remedy: `"on" or "off"`})
	}
	if c.Reactions != reactionsTags && c.Reactions != reactionsText && c.Reactions != off {
		out = append(out, gateway.Problem{Key: "reactions", Text: fmt.Sprintf("%q is not known", c.Reactions), Remedy: `"tags", "text" or "off"`})
	}
	for key, d := range map[string]time.Duration{"hold": c.Hold, "correct_after": c.CorrectAfter} {
		if d < 0 || d > time.Minute {
			out = append(out, gateway.Problem{Key: key, Text: "must be at most a minute", Remedy: `for example "5s"; "0s": not at all`})
		}
	}
	return out
}

// checkTLS finds what is wrong with how we authenticate and encrypt.
func (c Config) checkTLS(host string) []gateway.Problem {
	var out []gateway.Problem
	wrong := func(key, text, remedy string) {
		out = append(out, gateway.Problem{Key: key, Text: text, Remedy: remedy})
	}
	if c.SASL.User == "" && c.SASL.Password != "" {
		wrong("sasl.user", "is missing", "name the account that the password belongs to")
	}
	if c.SASL.User != "" && c.SASL.Password == "" {
		wrong("sasl.password", "is missing", `give it as "env:NAME" or "file:PATH"`)
	}
	if strings.ContainsRune(c.SASL.User+c.SASL.Password, 0) {
		wrong("sasl", "holds a NUL byte", "remove it")
	}
	if !c.TLS && !isLoopback(host) {
		if c.SASL != (SASL{}) {
			wrong("sasl", "would send the password in the clear", "set tls = true, and the port that speaks TLS (usually 6697)")
		}
		if c.Password != "" {
			wrong("password", "would be sent in the clear", "set tls = true, and the port that speaks TLS (usually 6697)")
		}
	}
	if c.TLSCA == "" {
		return out
	}
	if !c.TLS {
		wrong("tls_ca", "has no effect without TLS", "set tls = true, or remove it")
	} else if _, err := c.roots(); err != nil {
		wrong("tls_ca", err.Error(), "name a readable file with at least one PEM certificate")
	}
	return out
}

// roots are the certificates to trust; nil stands for the system's.
func (c Config) roots() (*x509.CertPool, error) {
	if c.TLSCA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.TLSCA)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", c.TLSCA)
	}
	return pool, nil
}

// isLoopback reports whether what is sent to host stays on this machine.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
