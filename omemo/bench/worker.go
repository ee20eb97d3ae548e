package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// workerKind is a program that is measured.
type workerKind int

const (
	libsignal        workerKind = iota // signal.c
	libsignalAgain                     // for the control
	libsignalFetched                   // with OpenSSL's algorithms fetched once
	lockbridge                         // package omemo, in a process of its own
	plainGo                            // the standard library, in another
	kinds
)

// workerArgument makes this program a worker.
const workerArgument = "worker"

// comparison is two operations, and how many of each are enough to be measured: some tenths of a second.
type comparison struct {
	name           string
	theirs, ours   workerKind
	theirOperation string
	theirCount     int
	ourOperation   string
	ourCount       int
}

// comparisons of what needs no disk. Signal.c and ours.go say what each operation does.
var comparisons = []comparison{
	{"seal_device", libsignal, lockbridge, "seal_device", 10000, "seal_device", 30000},
	{"seal_device, algorithms fetched", libsignalFetched, lockbridge, "seal_device", 10000, "seal_device", 30000},
	{"seal_device, one at a time", libsignal, lockbridge, "seal_device", 10000, "seal_one", 10000},
	{"open_chain", libsignal, lockbridge, "open_chain", 8000, "open_chain", 16000},
	{"open_chain, algorithms fetched", libsignalFetched, lockbridge, "open_chain", 8000, "open_chain", 16000},
	{"open_turn", libsignal, lockbridge, "open_turn", 200, "open_turn", 600},
	{"open_turn and an answer", libsignal, lockbridge, "turn_reply", 200, "turn_reply", 600},
	{"session_build", libsignal, lockbridge, "session_build", 100, "session_build", 300},
	{"session_build, bundle known", libsignal, lockbridge, "session_build", 100, "session_again", 300},
	{"first_open", libsignal, lockbridge, "first_open", 100, "first_open", 300},
	{"parse_1000", plainGo, lockbridge, "tokens_1000", 40, "parse_1000", 1000},
	{"parse_1000, all keys", plainGo, lockbridge, "tokens_1000", 40, "parse_1000_all", 300},
	{"write_1000", plainGo, lockbridge, "marshal_1000", 40, "write_1000", 1000},
	{"write_1000, new buffers", plainGo, lockbridge, "marshal_1000", 40, "write_1000_new", 1000},
	{"control", libsignal, libsignalAgain, "seal_device", 10000, "seal_device", 10000},
}

// worker is a running program: it takes a command a line and answers with what it has measured.
type worker struct {
	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

func startWorker(ctx context.Context, c config, kind workerKind) (*worker, error) {
	own, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	w := &worker{process: exec.CommandContext(ctx, c.signal)}
	switch kind {
	case libsignalFetched:
		w.process = exec.CommandContext(ctx, c.signal, "fetch")
	case lockbridge, plainGo:
		w.process = exec.CommandContext(ctx, own, workerArgument)
	}
	w.process.Stderr = os.Stderr
	if w.in, err = w.process.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := w.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.out = bufio.NewReader(out)
	if err := w.process.Start(); err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	return w, nil
}

// measure returns the nanoseconds of one operation.
func (w *worker) measure(operation string, count int) (float64, error) {
	if _, err := fmt.Fprintf(w.in, "%s %d\n", operation, count); err != nil {
		return 0, fmt.Errorf("%s: %w", operation, err)
	}
	var spent float64
	var done int
	if _, err := fmt.Fscanln(w.out, &spent, &done); err != nil {
		return 0, fmt.Errorf("%s: the worker ended: %w", operation, err)
	}
	return spent / float64(done), nil
}

// stop ends the worker in order.
func (w *worker) stop() error {
	if err := w.in.Close(); err != nil {
		return err
	}
	return w.process.Wait()
}

// kill ends a worker that stop has not ended.
func (w *worker) kill() {
	if w.process.ProcessState == nil {
		_ = w.process.Process.Kill()
		_ = w.process.Wait()
	}
}

// serve is the other end of measure.
func serve(in io.Reader, out io.Writer) error {
	rooms := make(map[string]func() (float64, int, error))
	for {
		var name string
		var count int
		if _, err := fmt.Fscanln(in, &name, &count); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		round, ok := rooms[name]
		if !ok {
			begin, known := operations[name]
			if !known {
				return fmt.Errorf("unknown operation %q", name)
			}
			var err error
			if round, err = begin(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			rooms[name] = round
			if _, _, err := round(); err != nil { // warm
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		total, done := 0.0, 0
		for done < count {
			spent, n, err := round()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			total, done = total+spent, done+n
		}
		if _, err := fmt.Fprintf(out, "%.0f %d\n", total, done); err != nil {
			return err
		}
	}
}
