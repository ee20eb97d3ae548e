//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lockbridge/testbed/peers"
)

// picture is a file that nobody has seen before.
func picture() peers.Content {
	return peers.Content{Name: text("cat") + ".png", MIME: "image/png", Data: append(peers.PNG(20), random(100_000)...), Width: 20, Height: 20, Blurhash: "LEHV6nWB2yk8pyo0adR*.7kCMdnj"}
}

func random(size int) []byte {
	data := make([]byte, size)
	rand.Read(data)
	return data
}

func TestFiles(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		part(t, "xmpp", func(ctx context.Context, t *testing.T) {
			f := picture()
			link := k.shareX(ctx, t, f)
			e := must[peers.MatrixEvent](t)(k.Matrix.AwaitFile(ctx, k.MatrixRoom, f.Name))
			same(t, "on Matrix", f, must[[]byte](t)(k.Matrix.Open(ctx, e)))
			if e.Value("msgtype") != "m.image" || e.Value("info", "mimetype") != f.MIME || e.Get("info", "size") != float64(len(f.Data)) {
				t.Errorf("on Matrix it is %s", e)
			}
			if k.kind == two && (e.Get("info", "w") != 20.0 || e.Value("info", "xyz.amorgan.blurhash") != f.Blurhash) {
				t.Errorf("on Matrix it is %s", e)
			}
			found := k.linkOnIRC(ctx, t, f)
			if (found == link) != (k.kind == plain) {
				t.Errorf("on IRC the link is %s, on XMPP %s", found, link)
			}
		})
		for name, encrypted := range map[string]bool{"matrix": false, "matrix, encrypted": true} {
			part(t, name, func(ctx context.Context, t *testing.T) {
				f := picture()
				f.Caption = text("look at that cat")
				must[string](t)(k.Matrix.SendFile(ctx, k.MatrixRoom, peers.MatrixFile{Content: f, Encrypted: encrypted}))
				same(t, "on XMPP", f, k.fileOnXMPP(ctx, t, f))
				caption := k.onXMPP(ctx, t, f.Caption)
				mark := slices.IndexFunc(k.Owner.Events(), func(e peers.XMPPEvent) bool { return e.XML == caption.XML })
				must[peers.XMPPEvent](t)(k.Owner.AwaitAfter(ctx, mark+1, "the file behind its caption", func(e peers.XMPPEvent) bool {
					return e.Kind == "message" && e.Real == caption.Real && (e.Text() == "" || strings.HasPrefix(e.Text(), "aesgcm://") || strings.HasPrefix(e.Text(), "https://"))
				}))
				if l := k.onIRC(ctx, t, f.Caption); !strings.Contains(l.Text(), f.Caption+" ["+f.Name+", 100 kB] http") {
					t.Errorf("on IRC it is %q", l.Text())
				}
				k.linkOnIRC(ctx, t, f)
				k.nothingOfItOnDisk(t, f)
			})
		}
	})
}

// shareX has the owner share a file as clients do in such a room, and returns where it lies.
func (k *talk) shareX(ctx context.Context, t *testing.T, f peers.Content, more ...string) (link string) {
	t.Helper()
	if k.kind == plain {
		link = must[string](t)(k.Owner.Upload(ctx, k.Bed, f))
		must[string](t)(k.Owner.Send(ctx, k.Room, peers.Words{Text: link, Beside: append([]string{peers.OOB(link)}, more...)}))
		return link
	}
	link, key, nonce, err := k.Owner.UploadSealed(ctx, k.Bed, f)
	ok(t, err)
	if k.kind == legacy {
		must[string](t)(k.Owner.SendSealed(ctx, k.Room, peers.Words{Text: peers.AESGCM(link, key, nonce)}))
		return link
	}
	sealed, _ := must2[[]byte, http.Header](t)(k.Bed.Fetch(ctx, link))
	must[string](t)(k.Owner.SendSealed(ctx, k.Room, peers.Words{Inside: append([]string{peers.Sharing(f, peers.SealedAt(link, key, nonce, sealed))}, more...)}))
	return link
}

// fileOnXMPP awaits a file in the form of the room, and fetches it.
func (k *talk) fileOnXMPP(ctx context.Context, t *testing.T, f peers.Content) []byte {
	t.Helper()
	if k.kind == legacy {
		return k.sealedLink(ctx, t, k.Room, f)
	}
	e := must[peers.XMPPEvent](t)(k.Owner.AwaitElement(ctx, 0, k.Room, peers.NSSharing, "file-sharing", func(s peers.Element) bool {
		names := s.All("name")
		return len(names) > 0 && names[0].Text == f.Name
	}))
	sharing, _ := e.Element(peers.NSSharing, "file-sharing")
	if e.Encrypted != k.sealed() || k.sealed() == (len(sharing.All("encrypted")) == 0) {
		t.Errorf("on XMPP it is %s %s", e.XML, e.Content)
	}
	about := map[string]string{"media-type": f.MIME, "size": fmt.Sprint(len(f.Data))}
	if f.Width > 0 {
		about["width"], about["height"] = fmt.Sprint(f.Width), fmt.Sprint(f.Height)
	}
	if f.Milliseconds > 0 {
		about["length"] = fmt.Sprint(f.Milliseconds)
	}
	for name, want := range about {
		if got := sharing.All(name); len(got) == 0 || got[0].Text != want {
			t.Errorf("on XMPP its %s is %v, not %s", name, got, want)
		}
	}
	if thumb := sharing.All("thumbnail"); f.Blurhash != "" && (len(thumb) == 0 || !strings.HasPrefix(thumb[0].Attr("uri"), "data:image/blurhash,")) {
		t.Errorf("on XMPP its thumbnails are %v", thumb)
	}
	if k.kind == plain {
		if oob, _ := e.Element(peers.NSOOB, "x"); len(oob.All("url")) != 1 || oob.All("url")[0].Text != e.Text() {
			t.Errorf("on XMPP older clients see %s", e.XML)
		}
	}
	return must[[]byte](t)(k.Bed.OpenSharing(ctx, sharing))
}

// sealedLink awaits an aesgcm link that leads to a file. Its name tells nothing: the server would see it.
func (k *talk) sealedLink(ctx context.Context, t *testing.T, from string, f peers.Content) (data []byte) {
	t.Helper()
	must[peers.XMPPEvent](t)(k.Owner.Await(ctx, "a sealed link to "+f.Name, func(e peers.XMPPEvent) bool {
		if e.Kind != "message" || e.Own || !e.Encrypted || !strings.HasPrefix(e.From, from) || !strings.HasPrefix(e.Text(), "aesgcm://") {
			return false
		}
		got, _, err := k.Bed.Fetch(ctx, e.Text())
		data = got
		return err == nil && bytes.Equal(got, f.Data)
	}))
	return data
}

// linkOnIRC awaits the line about a file on IRC and follows its link.
func (k *talk) linkOnIRC(ctx context.Context, t *testing.T, f peers.Content) string {
	t.Helper()
	link := linkIn(k.onIRC(ctx, t, "["+f.Name).Text())
	got, _ := must2[[]byte, http.Header](t)(k.Bed.Fetch(ctx, link))
	same(t, "behind the link", f, got)
	return link
}

// linkIn is the link in a line.
func linkIn(line string) string {
	from := strings.Index(line, "http")
	if from < 0 {
		return "none in " + line
	}
	link, _, _ := strings.Cut(line[from:], " ")
	return strings.TrimRight(link, "\x0f)")
}

func same(t *testing.T, where string, f peers.Content, got []byte) {
	t.Helper()
	if !bytes.Equal(got, f.Data) {
		t.Errorf("%s are %d other bytes, not the %d of %s", where, len(got), len(f.Data), f.Name)
	}
}

// nothingOfItOnDisk looks for a part of a file in everything that Lockbridge keeps.
func (k *talk) nothingOfItOnDisk(t *testing.T, f peers.Content) {
	t.Helper()
	part := f.Data[len(f.Data)/2 : len(f.Data)/2+32]
	err := filepath.WalkDir(filepath.Dir(k.Lockbridge.Config), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // it may be gone already
		}
		if content, err := os.ReadFile(path); err == nil && bytes.Contains(content, part) {
			t.Errorf("%s holds a part of %s", path, f.Name)
		}
		return nil
	})
	ok(t, err)
}

// XEP-0447 beside a plain message: what is known of a file crosses, its caption too.
func TestWhatIsKnownOfAFile(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		f := picture()
		f.Caption = text("our cat")
		link := must[string](t)(k.Owner.Upload(ctx, k.Bed, f))
		must[string](t)(k.Owner.Send(ctx, k.Room, peers.Words{Text: link, Beside: []string{peers.OOB(link), peers.Sharing(f, peers.At(link))}}))
		e := must[peers.MatrixEvent](t)(k.Matrix.AwaitFile(ctx, k.MatrixRoom, f.Name))
		same(t, "on Matrix", f, must[[]byte](t)(k.Matrix.Open(ctx, e)))
		if e.Text() != f.Caption || e.Get("info", "w") != 20.0 || e.Get("info", "h") != 20.0 || e.Value("info", "xyz.amorgan.blurhash") != f.Blurhash {
			t.Errorf("on Matrix it is %s", e)
		}
		if l := k.onIRC(ctx, t, f.Caption); !strings.Contains(l.Text(), f.Caption+" ["+f.Name+", 100 kB] http") {
			t.Errorf("on IRC it is %q", l.Text())
		}
		k.linkOnIRC(ctx, t, f)
	}, plain)
}

// A smaller picture goes with a picture, but not into a sealed room: there its blurhash stands for it.
func TestThumbnails(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		small := peers.PNG(8)
		f := picture()
		f.Thumbnail = must[string](t)(k.Matrix.Upload(ctx, "small.png", "image/png", small))
		must[string](t)(k.Matrix.SendFile(ctx, k.MatrixRoom, peers.MatrixFile{Content: f}))
		same(t, "on XMPP", f, k.fileOnXMPP(ctx, t, f))
		e := must[peers.XMPPEvent](t)(k.Owner.AwaitElement(ctx, 0, k.Room, peers.NSSharing, "file-sharing", func(s peers.Element) bool {
			return len(s.All("name")) > 0 && s.All("name")[0].Text == f.Name
		}))
		sharing, _ := e.Element(peers.NSSharing, "file-sharing")
		thumbs := slices.DeleteFunc(sharing.All("thumbnail"), func(thumb peers.Element) bool { return strings.HasPrefix(thumb.Attr("uri"), "data:") })
		if k.kind == two {
			if len(thumbs) > 0 {
				t.Errorf("in a sealed room it has %+v", thumbs)
			}
			return
		}
		if len(thumbs) != 1 {
			t.Fatalf("on XMPP it has %+v", thumbs)
		}
		if got, _ := must2[[]byte, http.Header](t)(k.Bed.Fetch(ctx, thumbs[0].Attr("uri"))); !bytes.Equal(got, small) {
			t.Errorf("on XMPP it has %d bytes", len(got))
		}
		f = picture()
		f.Thumbnail = must[string](t)(k.Owner.Upload(ctx, k.Bed, peers.Content{Name: "small.png", MIME: "image/png", Data: small}))
		k.shareWhole(ctx, t, f)
		on := must[peers.MatrixEvent](t)(k.Matrix.AwaitFile(ctx, k.MatrixRoom, f.Name))
		if got, _ := must2[[]byte, string](t)(k.Matrix.Download(ctx, on.Value("info", "thumbnail_url"))); !bytes.Equal(got, small) {
			t.Errorf("on Matrix it has %d bytes", len(got))
		}
	}, plain, two)
}

func TestVoiceMessagesAndStickers(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		part(t, "matrix", func(ctx context.Context, t *testing.T) {
			voice := peers.Content{Name: text("voice") + ".ogg", MIME: "audio/ogg", Data: random(30_000), Milliseconds: 12_000}
			must[string](t)(k.Matrix.SendFile(ctx, k.MatrixRoom, peers.MatrixFile{Content: voice, More: peers.Voice(12_000, 1, 512, 1024)}))
			same(t, "on XMPP", voice, k.fileOnXMPP(ctx, t, voice))
			k.saidOnIRC(ctx, t, voice, "[voice message, 0:12]")
			sticker := picture()
			sticker.Name = text("a waving cat")
			must[string](t)(k.Matrix.SendFile(ctx, k.MatrixRoom, peers.MatrixFile{Content: sticker, Kind: "m.sticker"}))
			same(t, "on XMPP", sticker, k.fileOnXMPP(ctx, t, sticker))
			k.saidOnIRC(ctx, t, sticker, "[sticker: "+sticker.Name+"]")
		})
		part(t, "xmpp", func(ctx context.Context, t *testing.T) {
			if k.kind == legacy { // a sealed link says nothing of what it leads to
				return
			}
			voice := peers.Content{Name: text("voice") + ".ogg", MIME: "audio/ogg", Data: random(30_000), Milliseconds: 12_000}
			k.shareWhole(ctx, t, voice)
			e := must[peers.MatrixEvent](t)(k.Matrix.AwaitFile(ctx, k.MatrixRoom, voice.Name))
			same(t, "on Matrix", voice, must[[]byte](t)(k.Matrix.Open(ctx, e)))
			if e.Value("msgtype") != "m.audio" || e.Get("info", "duration") != 12_000.0 {
				t.Errorf("on Matrix it is %s", e)
			}
			k.linkOnIRC(ctx, t, voice)
			sticker := picture()
			k.shareWhole(ctx, t, sticker, "<sticker xmlns='"+peers.NSStickers+"' pack='cats'/>")
			if e := must[peers.MatrixEvent](t)(k.Matrix.AwaitFile(ctx, k.MatrixRoom, sticker.Name)); e.Type != "m.sticker" {
				t.Errorf("on Matrix it is %s", e)
			}
			k.saidOnIRC(ctx, t, sticker, "[sticker: "+sticker.Name+"]")
		})
	})
}

// shareWhole shares a file with what is known of it, in a plain room or in an envelope.
func (k *talk) shareWhole(ctx context.Context, t *testing.T, f peers.Content, more ...string) {
	t.Helper()
	if k.kind != plain {
		k.shareX(ctx, t, f, more...)
		return
	}
	link := must[string](t)(k.Owner.Upload(ctx, k.Bed, f))
	must[string](t)(k.Owner.Send(ctx, k.Room, peers.Words{Text: link, Beside: append([]string{peers.OOB(link), peers.Sharing(f, peers.At(link))}, more...)}))
}

// saidOnIRC awaits a line about a file that begins so, and follows its link.
func (k *talk) saidOnIRC(ctx context.Context, t *testing.T, f peers.Content, words string) {
	t.Helper()
	line := must[peers.IRCLine](t)(k.IRC.Await(ctx, words, func(l peers.IRCLine) bool {
		return l.Command == "PRIVMSG" && l.Nick() != k.IRC.Nick && strings.Contains(l.Text(), words) && strings.Contains(l.Text(), "http")
	}))
	got, _ := must2[[]byte, http.Header](t)(k.Bed.Fetch(ctx, linkIn(line.Text())))
	same(t, "behind the link", f, got)
}

// A link works, not for somebody who guesses, and no longer when the file was taken back.
func TestLinksForIRC(t *testing.T) {
	inScenes(t, peers.SceneOptions{}, func(ctx context.Context, t *testing.T, k *talk) {
		s := k.Scene
		f := picture()
		event := must[string](t)(s.Matrix.SendFile(ctx, s.MatrixRoom, peers.MatrixFile{Content: f}))
		link := k.linkOnIRC(ctx, t, f)
		_, header := must2[[]byte, http.Header](t)(s.Bed.Fetch(ctx, link))
		if header.Get("Content-Type") != f.MIME || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("it came with %v", header)
		}
		last := link[:strings.LastIndex(link, "/")]
		other := "A"
		if strings.HasSuffix(last, other) {
			other = "B"
		}
		if _, _, err := s.Bed.Fetch(ctx, last[:len(last)-1]+other+"/"+f.Name); err == nil {
			t.Error("a forged link works")
		}
		ok(t, s.Matrix.Redact(ctx, s.MatrixRoom, event, ""))
		ends(ctx, t, s, link)
	}, plain, legacy)
}

// ends asks for a link until it is gone; nothing tells when it goes.
func ends(ctx context.Context, t *testing.T, s *peers.Scene, link string) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, _, err := s.Bed.Fetch(ctx, link); err != nil {
			if !strings.Contains(err.Error(), "404") {
				t.Errorf("the link ended so: %v", err)
			}
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal("the link works for ever")
		}
	}
}
