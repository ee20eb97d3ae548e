package peers

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Gajim is a real Gajim with its OMEMO plugin on a screen of its own (Xvfb), steered through its D-Bus interface. Its feed is what it tells
// there (messages that came, after decryption, and those that went) and its log.
type Gajim struct {
	*Feed[string]
	JID string

	dir        string
	chats      []GajimChat
	env        []string
	credential *syscall.Credential
	processes  []*exec.Cmd
	transcript *Transcript
	done       sync.WaitGroup
}

// GajimChat is a chat that stands in Gajim's window from the beginning, with OMEMO switched on.
type GajimChat struct {
	JID  string
	Room bool // Gajim enters it if it has a bookmark with autojoin
}

const gajimAccount = "bed"

// StartGajim starts Gajim and logs it in. It must not run as root, so that root starts it as the user of the bed's daemons.
func StartGajim(ctx context.Context, b *Bed, jid, password string, t *Transcript, chats ...GajimChat) (*Gajim, error) {
	dir, err := os.MkdirTemp("", "lb-gajim-")
	if err != nil {
		return nil, err
	}
	g := &Gajim{JID: jid, dir: dir, chats: chats, transcript: t, Feed: newFeed("Gajim "+jid, func(s string) string { return s })}
	if err := g.start(ctx, b, password); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func (g *Gajim) start(ctx context.Context, b *Bed, password string) error {
	for _, d := range []string{"config", "run"} {
		if err := os.Mkdir(filepath.Join(g.dir, d), 0o700); err != nil {
			return err
		}
	}
	if err := g.writeSettings(ctx, b, password); err != nil {
		return fmt.Errorf("%s: its settings: %w", g.owner, err)
	}
	if err := g.dropPrivileges(b); err != nil {
		return err
	}
	g.env = append(os.Environ(), "HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir, "XDG_DATA_HOME="+g.dir, "XDG_CACHE_HOME="+g.dir, "XDG_RUNTIME_DIR="+g.dir+"/run",
		"LANG=C.UTF-8", "GDK_BACKEND=x11", "NO_AT_BRIDGE=1", "GSETTINGS_BACKEND=memory", "GIO_USE_VFS=local", "PATH=/usr/bin:/bin")
	display, err := g.spawnAndRead(ctx, "Xvfb", "-displayfd", "1", "-screen", "0", "1000x500x24", "-nolisten", "tcp", "-noreset")
	if err != nil {
		return err
	}
	g.env = append(g.env, "DISPLAY=:"+display)
	bus, err := g.spawnAndRead(ctx, "dbus-daemon", "--session", "--nofork", "--print-address=1", "--address=unix:dir="+g.dir+"/run")
	if err != nil {
		return err
	}
	g.env = append(g.env, "DBUS_SESSION_BUS_ADDRESS="+bus)
	if err := g.spawnAndFollow("gdbus", "monitor", "--session", "--dest", "org.gajim.Gajim"); err != nil {
		return err
	}
	if err := g.spawnAndFollow("gajim", "-c", filepath.Join(g.dir, "config"), "--loglevel", "gajim=INFO"); err != nil {
		return err
	}
	return g.awaitRemote(ctx)
}

// awaitRemote waits until Gajim tells on D-Bus what comes, some seconds after its start. That has no event, so it is asked for.
func (g *Gajim) awaitRemote(ctx context.Context) error {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		out, err := g.call(gajimRemote, "org.gajim.dbus.RemoteInterface.list_accounts")
		if err == nil && strings.Contains(out, gajimAccount) {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: no D-Bus interface: %w: %s; it saw:\n%s", g.owner, context.Cause(ctx), out, g.text(0))
		}
	}
}

// dropPrivileges hands the folder to the daemons' user when we are root.
func (g *Gajim) dropPrivileges(b *Bed) error {
	if os.Getuid() != 0 {
		return nil
	}
	name := os.Getenv("TESTBED_USER")
	if name == "" {
		name = "nobody"
	}
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	g.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return filepath.WalkDir(g.dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, int(uid), int(gid)))
	})
}

func (g *Gajim) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = g.env, g.dir, apart()
	cmd.SysProcAttr.Credential = g.credential
	return cmd
}

// spawnAndRead starts a program that says in its first line how to reach it.
func (g *Gajim) spawnAndRead(ctx context.Context, name string, args ...string) (string, error) {
	cmd := g.command(name, args...)
	output, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	g.processes = append(g.processes, cmd)
	first := make(chan string, 1)
	g.done.Go(func() {
		line, _ := bufio.NewReader(output).ReadString('\n')
		first <- strings.TrimSpace(line)
		io.Copy(io.Discard, output)
	})
	select {
	case line := <-first:
		if line == "" {
			return "", fmt.Errorf("%s ended at once", name)
		}
		return line, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s said nothing: %w", name, context.Cause(ctx))
	}
}

// spawnAndFollow starts a program whose output is part of the feed.
func (g *Gajim) spawnAndFollow(name string, args ...string) error {
	cmd := g.command(name, args...)
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	g.processes = append(g.processes, cmd)
	g.done.Go(func() {
		lines := bufio.NewScanner(output)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			g.add(name + ": " + lines.Text())
		}
		g.end(fmt.Errorf("%s has ended", name))
	})
	return nil
}

// writeSettings writes what Gajim would have kept from an earlier run: an account that logs in without TLS and without a question, its OMEMO
// plugin switched on, and the chats.
func (g *Gajim) writeSettings(ctx context.Context, b *Bed, password string) error {
	name, domain, _ := strings.Cut(g.JID, "@")
	type object map[string]any
	var open []object
	contacts, rooms := object{}, object{}
	for i, c := range g.chats {
		kind, settings := "chat", contacts
		if c.Room {
			kind, settings = "groupchat", rooms
		}
		settings[c.JID] = object{"encryption": "OMEMO"}
		open = append(open, object{"account": gajimAccount, "jid": object{"__type": "JID", "value": c.JID}, "type": kind, "pinned": true, "position": i})
	}
	app := object{"use_keyring": false, "remote_control": true, "plugins_update_check": false, "check_for_update": false, "show_notifications": false,
		"confirm_on_window_delete": false, "trayicon": "never"}
	account := object{"name": name, "hostname": domain, "password": password, "savepass": true, "active": true, "autoconnect": true, "resource": "gajim",
		"use_custom_host": true, "custom_host": b.IP, "custom_port": b.port("C2S"), "custom_type": "PLAIN", "use_plain_connection": true,
		"confirm_unencrypted_connection": false}
	db, err := sql.Open("sqlite", filepath.Join(g.dir, "config", "settings.sqlite"))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `CREATE TABLE settings (name TEXT UNIQUE, settings TEXT); CREATE TABLE account_settings (account TEXT UNIQUE, settings TEXT);
		PRAGMA user_version = 5`); err != nil {
		return err
	}
	insert := func(table, name string, value any) {
		text, _ := json.Marshal(value)
		_, failed := db.ExecContext(ctx, "INSERT INTO "+table+" VALUES (?, ?)", name, string(text))
		err = errors.Join(err, failed)
	}
	for name, value := range map[string]object{"app": app, "soundevents": {}, "status_presets": {}, "proxies": {}, "plugins": {"omemo": object{"active": true}},
		"workspaces": {"bed": object{"name": "Verona", "chats": open}}} {
		insert("settings", name, value)
	}
	insert("account_settings", gajimAccount, object{"account": account, "contact": contacts, "group_chat": rooms})
	return err
}

// AwaitLine waits for a line of its log or its D-Bus signals that holds all of the words.
func (g *Gajim) AwaitLine(ctx context.Context, what string, words ...string) (string, error) {
	return g.Await(ctx, what, func(line string) bool {
		for _, w := range words {
			if !strings.Contains(line, w) {
				return false
			}
		}
		return true
	})
}

// Say turns to one of the chats that stood in the window and sends a text there, which Gajim seals.
func (g *Gajim) Say(ctx context.Context, to, text string) error {
	n := slices.IndexFunc(g.chats, func(c GajimChat) bool { return c.JID == to })
	if n < 0 {
		return fmt.Errorf("%s has no chat with %s", g.owner, to)
	}
	method := "send_chat_message"
	if g.chats[n].Room {
		method = "send_groupchat_message"
	}
	if out, err := g.call("/org/gajim/Gajim/window/1", "org.gtk.Actions.Activate", fmt.Sprintf("switch-chat-%d", n+1), "@av []", "@a{sv} {}"); err != nil {
		return fmt.Errorf("%s: turning to %s: %w: %s", g.owner, to, err, out)
	}
	mark := g.Mark()
	g.transcript.add(Entry{Where: g.owner, Who: g.JID, Text: text, Said: true, Sealed: true})
	out, err := g.call(gajimRemote, "org.gajim.dbus.RemoteInterface."+method, variant(to), variant(text), variant(gajimAccount))
	if err == nil && !strings.Contains(out, "true") {
		err = errors.New("it did not")
	}
	if err != nil {
		return fmt.Errorf("%s: %s to %s: %w: %s", g.owner, method, to, err, out)
	}
	_, err = g.AwaitAfter(ctx, mark, "its own message", func(line string) bool {
		return strings.Contains(line, "MessageSent") && strings.Contains(line, variant(text))
	})
	return err
}

const gajimRemote = "/org/gajim/dbus/RemoteObject"

// variant writes a string as gdbus reads it.
func variant(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// call calls a method on Gajim's D-Bus interface.
func (g *Gajim) call(object, method string, args ...string) (string, error) {
	return g.run("gdbus", append([]string{"call", "--session", "--timeout", "10", "--dest", "org.gajim.Gajim", "--object-path", object, "--method", method}, args...)...)
}

func (g *Gajim) run(name string, args ...string) (string, error) {
	cmd := g.command("timeout", append([]string{"20", name}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(bytes.TrimSpace(out)), err
}

// AwaitText waits until Gajim has opened and shown a message of the room or person.
func (g *Gajim) AwaitText(ctx context.Context, from, text string) error {
	_, err := g.AwaitLine(ctx, fmt.Sprintf("the message %q", text), "RemoteInterface.", "Message (", strings.TrimSuffix(variant(from), "'"), text)
	return err
}

// Screenshot writes what a person would see now into a PNG file.
func (g *Gajim) Screenshot(file string) error {
	cmd := g.command("import", "-window", "root", "png:-")
	picture, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: a screenshot: %w", g.owner, err)
	}
	return os.WriteFile(file, picture, 0o644)
}

// Close ends Gajim, its bus and its screen, and removes its files.
func (g *Gajim) Close() {
	for i := len(g.processes) - 1; i >= 0; i-- {
		cmd := g.processes[i]
		cmd.Process.Signal(syscall.SIGTERM)
		stuck := time.AfterFunc(closeWithin, func() { cmd.Process.Kill() })
		cmd.Wait()
		stuck.Stop()
	}
	g.done.Wait()
	os.RemoveAll(g.dir)
}
