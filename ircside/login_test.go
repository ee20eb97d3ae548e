package ircside

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestSASL(t *testing.T) {
	secret := strings.Repeat("p", 400)
	r := begin(t, func(c *Config, _ *Side) { c.SASL = SASL{"user", secret}; c.Password = "server secret" })
	l := r.accept()
	l.expect("PASS :server secret")
	l.expect("CAP LS 302")
	l.expect("NICK lb")
	l.expect("USER ")
	l.send(":irc.test CAP * LS :server-time sasl=PLAIN,EXTERNAL")
	l.expect("CAP REQ :server-time")
	l.expect("CAP REQ :sasl")
	l.send(":irc.test CAP lb NAK :server-time", ":irc.test CAP lb ACK :sasl")
	l.expect("AUTHENTICATE PLAIN")
	l.send("AUTHENTICATE +")
	first := l.expect("AUTHENTICATE ")
	if len(first) != 400 {
		t.Errorf("a first piece of %d bytes", len(first))
	}
	all, err := base64.StdEncoding.DecodeString(first + l.expect("AUTHENTICATE "))
	if err != nil || string(all) != "\x00user\x00"+secret {
		t.Errorf("authenticated with %q, %v", all, err)
	}
	l.send(":irc.test 900 lb lb!lb@host user :You are now logged in", ":irc.test 903 lb :SASL successful")
	l.expect("CAP END")
	l.send(":irc.test 001 lb :Welcome")
	l.join("#lobby")
	r.isReady()
	if r.log.count("secret")+r.log.count(secret) > 0 {
		t.Error("a password is in the log")
	}
}

func TestLoginRefused(t *testing.T) {
	for name, c := range map[string]struct {
		answer []string
		sasl   bool
		want   string
	}{
		"wrong password":   {[]string{":irc.test CAP * LS :sasl", ":irc.test CAP lb ACK :sasl", ":irc.test 904 lb :SASL authentication failed"}, true, "refused our login"},
		"no SASL":          {[]string{":irc.test CAP * LS :batch"}, true, "offers no SASL"},
		"no PLAIN":         {[]string{":irc.test CAP * LS :sasl=EXTERNAL"}, true, "not with PLAIN"},
		"SASL refused":     {[]string{":irc.test CAP * LS :sasl", ":irc.test CAP lb NAK :sasl"}, true, "refused to begin SASL"},
		"no CAP":           {[]string{":irc.test 001 lb :Welcome"}, true, "without the login"},
		"server password":  {[]string{":irc.test 464 lb :Password incorrect"}, false, "Password incorrect"},
		"banned":           {[]string{":irc.test 465 lb :Go away"}, false, "Go away"},
		"error":            {[]string{"ERROR :Closing link (too fast)"}, false, "too fast"},
		"every nick taken": {[]string{strings.Repeat(":irc.test 433 * lb :taken\r\n", 9)}, false, "no nick of ours"},
	} {
		t.Run(name, func(t *testing.T) {
			r := begin(t, func(cfg *Config, _ *Side) {
				if c.sasl {
					cfg.SASL = SASL{"user", "secret"}
				}
			})
			l := r.accept()
			l.expect("CAP LS 302")
			l.send(c.answer...)
			if err := r.state(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("told %v, want %q", err, c.want)
			}
			r.accept() // it tries again
		})
	}
}

func TestNickTaken(t *testing.T) {
	r := begin(t, nil)
	l := r.accept()
	l.expect("CAP LS 302")
	l.expect("NICK lb")
	l.expect("USER ")
	l.send(":irc.test 433 * lb :Nickname is already in use")
	l.expect("NICK lb_")
	l.send(":irc.test 001 lb_ :Welcome")
	l.expect("JOIN #lobby")
	l.send(":lb_!lb@host JOIN #lobby")
	r.isReady()
	l.send(":lb!x@y QUIT :bye")
	l.expect("NICK lb")
	l.send(":lb_!lb@host NICK lb")
	// What we say under the new nick is still ours.
	l.send(":lb!lb@host PRIVMSG #lobby :ours", ":bob!b@h PRIVMSG #lobby :theirs")
	r.awaitText("theirs")
	for _, ev := range r.inbox.Heard() {
		if ev.Sender.ID == "lb" {
			t.Errorf("we heard ourselves: %+v", ev)
		}
	}
}
