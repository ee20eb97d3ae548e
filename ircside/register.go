package ircside

import (
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/lrstanley/girc"
)

// loginError is a refusal that a quick retry would not change: a wrong password, a ban.
type loginError struct{ reason string }

func (e loginError) Error() string { return e.reason }

// wantedCaps are the capabilities (IRCv3) that we ask for where they are offered.
func wantedCaps() []string {
	return []string{"batch", "chghost", capHistory, capRedact, capMultiline, "echo-message", "labeled-response", "message-tags", "server-time"}
}

// register opens the registration (RFC 2812, section 3.1; IRCv3 capability negotiation).
func (s *session) register() {
	cfg := s.c.side.cfg
	if cfg.Password != "" {
		s.now = append(s.now, "PASS :"+cfg.Password)
	}
	s.now = append(s.now, "CAP LS 302", "NICK "+cfg.Nick, "USER "+cfg.User+" 0 * :"+cfg.Realname)
}

// capability handles CAP.
func (s *session) capability(e *girc.Event) error {
	caps := strings.Fields(e.Last())
	switch param(e, 1) {
	case girc.CAP_LS:
		for _, c := range caps {
			name, value, _ := strings.Cut(c, "=")
			if len(s.offered) < 256 {
				s.offered[name] = value
			}
		}
		if !s.registered && param(e, 2) != "*" { // an asterisk: more follows
			return s.requestCaps()
		}
	case girc.CAP_ACK:
		for _, c := range caps {
			s.caps[strings.TrimLeft(c, "~=")] = true
		}
		if s.caps[capMultiline] {
			s.multi = parseMultiline(s.offered[capMultiline])
		}
		return s.capsAnswered()
	case girc.CAP_NAK:
		return s.capsAnswered()
	case girc.CAP_DEL:
		for _, c := range caps {
			if s.caps[c] {
				return fmt.Errorf("the server took %q away, so we begin anew", c)
			}
		}
	}
	return nil
}

// requestCaps asks for what we want, and apart from it for what we need.
func (s *session) requestCaps() error {
	var want []string
	for _, c := range wantedCaps() {
		if _, ok := s.offered[c]; ok {
			want = append(want, c)
		}
	}
	// An echo without its label would have to be told from others by its text: better none.
	if !slices.Contains(want, "labeled-response") || !slices.Contains(want, "batch") || !slices.Contains(want, "message-tags") {
		want = slices.DeleteFunc(want, func(c string) bool { return c == "echo-message" })
	}
	// A batch is told as one message only where others know what it is.
	if !slices.Contains(want, "batch") || !slices.Contains(want, "message-tags") {
		want = slices.DeleteFunc(want, func(c string) bool { return c == capMultiline })
	}
	if len(want) > 0 {
		s.now = append(s.now, "CAP REQ :"+strings.Join(want, " "))
		s.asked++
	}
	if s.c.side.cfg.SASL.User != "" {
		mechanisms, ok := s.offered["sasl"]
		if !ok {
			return loginError{"the server offers no SASL, but the config asks to log in"}
		}
		if mechanisms != "" && !slices.Contains(strings.Split(mechanisms, ","), "PLAIN") {
			return loginError{fmt.Sprintf("the server offers SASL with %s only, and not with PLAIN", mechanisms)}
		}
		s.now = append(s.now, "CAP REQ :sasl")
		s.asked++
	}
	if s.asked == 0 {
		s.now = append(s.now, "CAP END")
	}
	return nil
}

// capsAnswered goes on once every request has its answer.
func (s *session) capsAnswered() error {
	s.asked--
	switch {
	case s.asked != 0 || s.registered:
	case s.caps["sasl"]:
		s.now = append(s.now, "AUTHENTICATE PLAIN")
	case s.c.side.cfg.SASL.User != "":
		return loginError{"the server refused to begin SASL"}
	default:
		s.now = append(s.now, "CAP END")
	}
	return nil
}

// authenticate answers the server's empty challenge (RFC 4616) in pieces of 400 bytes; a last piece of that length is
// followed by an empty one (IRCv3 SASL).
func (s *session) authenticate(e *girc.Event) {
	const piece = 400
	if param(e, 0) != "+" || !s.caps["sasl"] || s.registered {
		return
	}
	sasl := s.c.side.cfg.SASL
	answer := base64.StdEncoding.EncodeToString([]byte("\x00" + sasl.User + "\x00" + sasl.Password))
	for len(answer) >= piece {
		s.now = append(s.now, "AUTHENTICATE "+answer[:piece])
		answer = answer[piece:]
	}
	if answer == "" {
		answer = "+"
	}
	s.now = append(s.now, "AUTHENTICATE "+answer)
}

// registration handles what belongs to the time before the welcome, and the welcome. It reports whether e did.
func (s *session) registration(e *girc.Event) (handled bool, err error) {
	switch e.Command {
	case girc.CAP:
		return true, s.capability(e)
	case girc.AUTHENTICATE:
		s.authenticate(e)
	case girc.RPL_SASLSUCCESS, girc.ERR_SASLALREADY:
		s.caps["authenticated"] = true
		if !s.registered {
			s.now = append(s.now, "CAP END")
		}
	case girc.RPL_NICKLOCKED, girc.ERR_SASLFAIL, girc.ERR_SASLTOOLONG, girc.ERR_SASLABORTED:
		return true, loginError{"the server refused our login: " + cleanReason(e.Last())}
	case girc.ERR_PASSWDMISMATCH, girc.ERR_YOUREBANNEDCREEP:
		if !s.registered {
			return true, loginError{"the server refused us: " + cleanReason(e.Last())}
		}
	case girc.RPL_WELCOME:
		return true, s.welcome(e)
	case girc.ERR_NICKNAMEINUSE, girc.ERR_NICKCOLLISION, girc.ERR_ERRONEUSNICKNAME, "484":
		return true, s.nickRefused(e)
	case girc.ERR_UNAVAILRESOURCE: // a nick or a channel
		if s.registered {
			return false, nil
		}
		return true, s.nickRefused(e)
	case girc.RPL_ISUPPORT:
		s.supports(e)
	default:
		return false, nil
	}
	return true, nil
}

// welcome is the end of the registration. The nick is what the server says, which may have cut it.
func (s *session) welcome(e *girc.Event) error {
	if s.registered {
		return nil
	}
	if s.c.side.cfg.SASL.User != "" && !s.caps["authenticated"] {
		return loginError{"the server let us in without the login that the config asks for"}
	}
	if nick := param(e, 0); validTarget(nick) {
		s.nick = nick
	}
	s.registered = true
	now := s.c.side.clock.now()
	s.pace = newPacer(s.c.pace, now) // servers count anew from here, too
	s.regainAt = now.Add(s.c.side.timings.regain)
	if !s.isMe(s.c.side.cfg.Nick) {
		s.c.side.deps.Log.Warn("our nick is taken; trying to get it back", "wanted", s.c.side.cfg.Nick, "nick", s.nick)
	}
	s.catchUpChats(timeOf(e, now))
	s.ready() // there may be no channel
	s.c.signal()
	return nil
}

// nickRefused tries another nick: with underscores first, then with a number, which also fits where nicks are short.
func (s *session) nickRefused(e *girc.Event) error {
	if s.registered {
		return nil // a try to get our own back
	}
	const underscores, most = 3, 8
	s.tries++
	cfg := s.c.side.cfg
	switch {
	case s.tries > most:
		return loginError{"the server takes no nick of ours: " + cleanReason(e.Last())}
	case s.tries <= underscores:
		s.nick = cfg.Nick + strings.Repeat("_", s.tries)
	default:
		s.nick = fmt.Sprintf("%s%03d", cfg.Nick[:min(len(cfg.Nick), 6)], int(math.Floor(s.c.side.jitter()*1000)))
	}
	s.now = append(s.now, "NICK "+s.nick)
	return nil
}

// supports reads RPL_ISUPPORT: "005 me KEY=VALUE ... :are supported by this server".
func (s *session) supports(e *girc.Event) {
	for _, p := range e.Params[min(1, len(e.Params)):] {
		key, value, _ := strings.Cut(p, "=")
		switch key {
		case "CASEMAPPING":
			if m := casemap(value); m != s.c.casemap {
				s.c.refold(m)
			}
		case "LINELEN":
			if n, err := strconv.Atoi(value); err == nil {
				s.lineLen = min(max(n, 512), window/2)
			}
		case "PREFIX": // (ov)@+
			if _, signs, ok := strings.Cut(value, ")"); ok {
				s.prefixes = signs
			}
		case "CHATHISTORY", "draft/CHATHISTORY": // the most lines that may be asked for; 0: any number
			if n, err := strconv.Atoi(value); err == nil && n >= 0 {
				s.pageLen = pageMost
				if n > 0 {
					s.pageLen = min(n, pageMost)
				}
			}
		case "TOPICLEN":
			if n, err := strconv.Atoi(value); err == nil && n > 0 {
				s.topicLen = n
			}
		case "CLIENTTAGDENY": // *,-typing
			s.denied = map[string]bool{}
			for i, tag := range strings.Split(value, ",") {
				if name, allowed := strings.CutPrefix(tag, "-"); i < 256 {
					s.denied[name] = !allowed
				}
			}
		case "MSGREFTYPES": // msgid,timestamp
			s.noMsgids = !slices.Contains(strings.Split(value, ","), "msgid")
		case "TARGMAX": // PRIVMSG:4,JOIN:,KICK:1
			for _, limit := range strings.Split(value, ",") {
				if n, ok := strings.CutPrefix(limit, "JOIN:"); ok {
					s.joinMax, _ = strconv.Atoi(n)
				}
			}
		}
	}
}
