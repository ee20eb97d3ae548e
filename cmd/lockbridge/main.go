// Command lockbridge joins XMPP rooms, Matrix rooms and IRC channels, with the XMPP leg end-to-end encrypted.
//
// It is the only package that knows all the others: it reads the configuration, hands each network's block to its side,
// and puts sides, gateway and store together. It decides nothing about messages.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// commands is the command line.
type commands struct {
	Init         initCommand         `cmd:"" group:"Set up:" help:"Write a commented configuration and a key file."`
	Check        checkCommand        `cmd:"" group:"Set up:" help:"Say everything that is wrong with the configuration, with line and remedy."`
	Registration registrationCommand `cmd:"" group:"Set up:" help:"Write the file that tells the Matrix homeserver about lockbridge."`
	Run          runCommand          `cmd:"" group:"Run:" help:"Run the bridge until SIGTERM or SIGINT."`
	Fingerprint  fingerprintCommand  `cmd:"" group:"Keys:" help:"Show the OMEMO fingerprint of the gateway or of a puppet, with a QR code to verify it by."`
	Trust        trustCommand        `cmd:"" group:"Keys:" help:"Decide whose OMEMO keys are trusted."`
	Trace        traceCommand        `cmd:"" group:"Look after:" help:"Show a message's way, by any of its ids."`
	Lanes        lanesCommand        `cmd:"" group:"Look after:" help:"List the rooms for which something waits or was given up, and why."`
	Dead         deadCommand         `cmd:"" group:"Look after:" help:"Look after deliveries that were given up."`
	Forget       forgetCommand       `cmd:"" group:"Look after:" help:"Remove what is kept about a person."`
	Backup       backupCommand       `cmd:"" group:"Backup:" help:"Write everything that the store holds to a file, beside a running bridge."`
	Restore      restoreCommand      `cmd:"" group:"Backup:" help:"Fill an empty store with a backup."`
	Rekey        rekeyCommand        `cmd:"" group:"Backup:" help:"Give the store another key."`
	Version      versionCommand      `cmd:"" group:"Run:" help:"Print the version."`
}

// configFlag is shared by the commands that read a configuration.
type configFlag struct {
	Config string `short:"c" default:"lockbridge.toml" placeholder:"FILE" help:"The configuration (default: lockbridge.toml)."`
}

// output is where a command prints: results to out, findings and log lines to err; in answers its questions.
type output struct {
	out, err io.Writer
	in       io.Reader
}

// errReported ends a command that has said already what is wrong.
var errReported = errors.New("reported")

func main() {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		calmMonitor()
	}
	os.Exit(command(os.Args[1:], output{os.Stdout, os.Stderr, os.Stdin}))
}

// command runs one command line and returns the exit status: 0, 1 for an error, 2 for a command line that makes no
// sense.
func command(args []string, o output) int {
	var c commands
	exited := -1
	parser, err := kong.New(&c, kong.Name("lockbridge"), kong.Writers(o.out, o.err), kong.Exit(func(status int) { exited = status }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Description("Joins XMPP rooms, Matrix rooms and IRC channels; the XMPP leg is end-to-end encrypted."), kong.Bind(o))
	if err != nil {
		fmt.Fprintln(o.err, "lockbridge:", err)
		return 2
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help has printed what was asked for
		return exited
	}
	if err != nil {
		fmt.Fprintf(o.err, "lockbridge: %v (see lockbridge --help)\n", err)
		return 2
	}
	switch err := parsed.Run(); {
	case errors.Is(err, errReported):
		return 1
	case err != nil:
		fmt.Fprintln(o.err, "lockbridge:", err)
		return 1
	}
	return 0
}
