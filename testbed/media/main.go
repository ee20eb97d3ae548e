// Command media measures what a large encrypted file costs Lockbridge on its way between Matrix and a sealed XMPP room.
// `make bench-media` starts a test bed and runs it.
//
// A Matrix client sends an encrypted attachment, and a member of the room fetches and opens what arrives (aesgcm,
// XEP-0454); then the other way round. The first file is small, so that what is loaded once is there; the second one is
// measured. It fails where a file arrives changed, where the process grows by more than -limit while a file crosses, and
// where anything that it keeps on disk holds a piece of the file in the clear.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"lockbridge/testbed/peers"
)

type config struct {
	lockbridge string
	size       int   // bytes
	limit      int64 // bytes
}

const (
	warmUp = 1 << 20
	// crossing bounds the way of one file, on a busy machine.
	crossing = 5 * time.Minute
)

func main() {
	var c config
	megabytes := flag.Int("size", 50, "of the file, in MiB")
	limit := flag.Int64("limit", 30, "how much the process may grow, in MiB")
	flag.StringVar(&c.lockbridge, "lockbridge", "bin/lockbridge", "the program")
	flag.Parse()
	c.size, c.limit = *megabytes<<20, *limit<<20
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := measure(ctx, c)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "media:", err)
		os.Exit(1)
	}
}

// measure sends files both ways and prints what they cost.
func measure(ctx context.Context, c config) (err error) {
	bed, err := peers.Open()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lockbridge-media-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	scene, err := peers.NewScene(ctx, bed, peers.SceneOptions{Binary: c.lockbridge, Dir: dir, Sealed: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scene.Close()) }()
	if err := scene.Start(ctx); err != nil {
		return err
	}
	w := &watch{pid: scene.Lockbridge.PID(), dir: dir, marker: make([]byte, 16)}
	if _, err := rand.Read(w.marker); err != nil {
		return err
	}
	for _, size := range []int{warmUp, c.size} {
		for _, way := range []struct {
			name string
			send func(context.Context, *peers.Scene, string, []byte) ([]byte, error)
		}{{"Matrix to XMPP", toXMPP}, {"XMPP to Matrix", toMatrix}} {
			used, err := cross(ctx, w, size, func(ctx context.Context, name string, data []byte) ([]byte, error) {
				return way.send(ctx, scene, name, data)
			})
			if err != nil {
				return fmt.Errorf("%s, %d MiB: %w\n%s", way.name, size>>20, err, scene.LogTail())
			}
			if size == warmUp {
				continue
			}
			fmt.Printf("%s: %d MiB in %.1f s; %.1f MiB before, %.1f MiB at most: %.1f MiB more\n",
				way.name, size>>20, used.took.Seconds(), mib(used.before), mib(used.peak), mib(used.peak-used.before))
			if used.peak-used.before > c.limit {
				err = errors.Join(err, fmt.Errorf("%s: the process grew by more than %.0f MiB", way.name, mib(c.limit)))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// cost is what one file did to the process.
type cost struct {
	before, peak int64 // resident memory, in bytes
	took         time.Duration
}

// cross sends a file and compares what arrives, while the process is watched.
func cross(ctx context.Context, w *watch, size int, send func(ctx context.Context, name string, data []byte) ([]byte, error)) (cost, error) {
	ctx, cancel := context.WithTimeout(ctx, crossing)
	defer cancel()
	data := bytes.Repeat(w.marker, size/len(w.marker))
	before := w.resident()
	watching := w.start(ctx)
	began := time.Now()
	got, err := send(ctx, peers.Unique("film")+".bin", data)
	used := cost{before: before, took: time.Since(began)}
	var seen error
	used.peak, seen = watching()
	if err = errors.Join(err, seen); err == nil && sha256.Sum256(got) != sha256.Sum256(data) {
		err = fmt.Errorf("%d bytes arrived, and they are not those that were sent", len(got))
	}
	return used, err
}

// toXMPP sends an encrypted attachment on Matrix and returns what a member of the XMPP room finds.
func toXMPP(ctx context.Context, s *peers.Scene, name string, data []byte) ([]byte, error) {
	mark := s.Owner.Mark()
	if _, err := s.Matrix.SendFile(ctx, s.MatrixRoom, peers.MatrixFile{Content: peers.Content{Name: name, MIME: "application/octet-stream", Data: data}, Encrypted: true}); err != nil {
		return nil, err
	}
	e, err := s.Owner.AwaitAfter(ctx, mark, "an encrypted file", func(e peers.XMPPEvent) bool {
		return e.Kind == "message" && !e.Own && e.Encrypted && strings.HasPrefix(e.Text(), "aesgcm://")
	})
	if err != nil {
		return nil, err
	}
	got, _, err := s.Bed.Fetch(ctx, e.Text())
	return got, err
}

// toMatrix shares an encrypted file in the XMPP room and returns what the Matrix user finds.
func toMatrix(ctx context.Context, s *peers.Scene, name string, data []byte) ([]byte, error) {
	link, key, nonce, err := s.Owner.UploadSealed(ctx, s.Bed, peers.Content{Name: name, MIME: "application/octet-stream", Data: data})
	if err != nil {
		return nil, err
	}
	if _, err := s.Owner.SendSealed(ctx, s.Room, peers.Words{Text: peers.AESGCM(link, key, nonce)}); err != nil {
		return nil, err
	}
	e, err := s.Matrix.AwaitFile(ctx, s.MatrixRoom, name)
	if err != nil {
		return nil, err
	}
	return s.Matrix.Open(ctx, e)
}
