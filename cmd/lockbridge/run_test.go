package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runConfig has one network whose server is away: nobody listens on port 1.
const runConfig = `
store.key = "env:KEY"
http.listen = "127.0.0.1:0"
log.format = "text"
network.irc = { kind = "irc", server = "127.0.0.1:1", nick = "lockbridge" }
`

const (
	oneKey     = "KEY=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	anotherKey = "KEY=MTEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
)

// TestRun runs the program as a service manager does: it answers on HTTP while its network is away, keeps a second
// process and a wrong key out of its store, and ends with 0 soon after SIGTERM.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	config := filepath.Join(t.TempDir(), "lockbridge.toml")
	if err := os.WriteFile(config, []byte(runConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := program(ctx, oneKey, "run", "--config", config)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	base := "http://" + await(t, lines, regexp.MustCompile(`msg="http listens" address=(\S+)`))
	await(t, lines, regexp.MustCompile(`(msg="lockbridge starts")`))

	expect(ctx, t, base+"/healthz", http.StatusOK, `^ok\n$`)
	expect(ctx, t, base+"/readyz", http.StatusServiceUnavailable, `^{"ready":false,"networks":{"irc":{"state":"away","reason":".+"}}}\n$`)
	expect(ctx, t, base+"/metrics", http.StatusOK, `(?m)^lockbridge_network_up{network="irc"} 0$`)
	expect(ctx, t, base+"/metrics", http.StatusOK, `(?m)^lockbridge_build_info{version="0.*"} 1$`)
	expect(ctx, t, base+"/readyz/irc", http.StatusServiceUnavailable, `^{"state":"away","reason":".+"}\n$`)
	expect(ctx, t, base+"/else", http.StatusNotFound, ``)

	fails(ctx, t, oneKey, config, `lockbridge: open store: .*another process`)

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	await(t, lines, regexp.MustCompile(`(msg=stopped)`))
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if took := time.Since(asked); took > 5*time.Second {
		t.Errorf("ending took %v", took)
	}

	fails(ctx, t, anotherKey, config, `lockbridge: open store: .*key`)
}

// TestAwaitDatabase starts the program before its database, and stops it while it waits.
func TestAwaitDatabase(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	config := filepath.Join(t.TempDir(), "lockbridge.toml")
	writeFile(t, config, runConfig+"store.url = \"postgres://lb:geheim@127.0.0.1:1/lockbridge\"\n")
	cmd := program(ctx, oneKey, "run", "--config", config)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	if line := await(t, lines, regexp.MustCompile(`(msg="the database does not answer yet; trying on".*)`)); strings.Contains(line, "geheim") {
		t.Errorf("the log tells the password: %s", line)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// besideConfig has an encrypted room, so that the gateway has a device of its own before it reaches any server.
const besideConfig = `
store.key = "env:KEY"
http.listen = ""
network.xmpp = { kind = "xmpp", component = "bridge.example.org", server = "127.0.0.1:1", secret = "x" }
network.irc = { kind = "irc", server = "127.0.0.1:1", nick = "lockbridge" }
[[bridge]]
name = "lobby"
rooms = { xmpp = "lobby@conference.example.org", irc = "#lobby" }
encryption = "required"
clear = ["irc"]
`

// TestBesideRun gives commands while the program runs on the same SQLite file.
func TestBesideRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	config := filepath.Join(t.TempDir(), "lockbridge.toml")
	if err := os.WriteFile(config, []byte(besideConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := program(ctx, oneKey, "run", "--config", config)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	await(t, lines, regexp.MustCompile(`(msg="network away" network=xmpp)`))
	key := strings.Repeat(" 01234567", 8)
	for _, c := range []struct{ args, want string }{
		{"fingerprint", `^lockbridge@bridge.example.org, the gateway itself\n\n  device       \d+\n  fingerprint  `},
		{"trust list", `^nobody's keys are known yet`},
		{"trust verify juliet@example.org" + key, `^juliet@example.org, key` + key + `: verified`},
		{"trust list", `\njuliet@example.org  -       ` + key[1:] + `  -         verified \(decided\)  -\n$`},
		{"trust undo juliet@example.org" + key, `: the decision is taken back`},
	} {
		out, err := program(ctx, oneKey, append(strings.Fields(c.args), "--config", config)...).CombinedOutput()
		if err != nil || !regexp.MustCompile(c.want).Match(out) {
			t.Errorf("%s: %v, %s", c.args, err, out)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, lines, regexp.MustCompile(`(msg=stopped)`))
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// program is this test binary, run as lockbridge.
func program(ctx context.Context, env string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", env)
	return cmd
}

// fails runs the program and expects it to end with 1 and a last line that fits.
func fails(ctx context.Context, t *testing.T, env, config, pattern string) {
	t.Helper()
	out, err := program(ctx, env, "run", "--config", config).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !regexp.MustCompile(pattern).MatchString(lines[len(lines)-1]) {
		t.Errorf("want status 1 and %q last, got %v and\n%s", pattern, err, out)
	}
}

// await reads log lines up to the first that fits, and returns what the pattern's group holds.
func await(t *testing.T, lines *bufio.Scanner, pattern *regexp.Regexp) string {
	t.Helper()
	var seen []string
	for lines.Scan() {
		if m := pattern.FindStringSubmatch(lines.Text()); m != nil {
			return m[1]
		}
		seen = append(seen, lines.Text())
	}
	t.Fatalf("no line fits %q in\n%s", pattern, strings.Join(seen, "\n"))
	return ""
}

func expect(ctx context.Context, t *testing.T, url string, status int, body string) {
	t.Helper()
	answer, err := get(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	got, text, _ := strings.Cut(answer, "\n")
	if got != fmt.Sprint(status) || !regexp.MustCompile(body).MatchString(text) {
		t.Errorf("%s answers %s, want %d and %q", url, answer, status, body)
	}
}

// get returns the status and the body, one below the other.
func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%d\n%s", res.StatusCode, body), err
}
