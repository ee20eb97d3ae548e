package xmppside

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

// golden compares got with testdata/name, or writes it there when UPDATE_GOLDEN is set.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", filepath.FromSlash(name))
	if os.Getenv("UPDATE_GOLDEN") != "" {
		must(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// TestDecodeFiles reads what clients send: each case is a stanza, and beside it what is made of it.
func TestDecodeFiles(t *testing.T) {
	cases, err := filepath.Glob("testdata/files/in-*.xml")
	must(t, err)
	if len(cases) == 0 {
		t.Fatal("there are no cases")
	}
	for _, file := range cases {
		raw, err := os.ReadFile(file)
		must(t, err)
		n, err := parseNode(bytes.TrimSpace(raw))
		must(t, err)
		files, rest := decodeFiles(n, n.child(nsClient, "body").said(), true)
		out, err := json.MarshalIndent(map[string]any{"files": files, "rest": rest}, "", "  ")
		must(t, err)
		golden(t, "files/"+strings.TrimSuffix(filepath.Base(file), "xml")+"golden", string(out)+"\n")
	}
}

var (
	testPicture = gateway.File{
		Name: "kitten & co.jpg", MIME: "image/jpeg", Size: 1234, Width: 640, Height: 480, Blurhash: "LEHV6nWB2yk8pyo0adR*.7kCMdnj",
		Thumb: &gateway.File{Name: "t.jpg", MIME: "image/jpeg", Width: 96, Height: 72, URL: "mxc://a/t"},
	}
	testVoice  = gateway.File{Name: "voice.ogg", MIME: "audio/ogg", Size: 99, Duration: 12345 * time.Millisecond, Voice: true}
	testSecret = gateway.Cipher{Name: gateway.CipherGCM256, Key: bytes.Repeat([]byte{0xA1}, 32), IV: bytes.Repeat([]byte{0xB2}, 12), Hash: bytes.Repeat([]byte{0xC3}, 32)}
)

// TestEncodeFiles: what is written, and that it is read back as what it was.
func TestEncodeFiles(t *testing.T) {
	for name, c := range map[string]struct {
		shared
		nodes func(shared) []*node
	}{
		"plain":  {shared{file: testPicture, at: "https://files.test/a/kitten.jpg?x=1&y", sum: bytes.Repeat([]byte{0xD4}, 32), thumb: "https://files.test/t.jpg"}, shared.beside},
		"voice":  {shared{file: testVoice, at: "https://files.test/voice.ogg"}, shared.beside},
		"sealed": {shared{file: testPicture, at: "https://files.test:5281/a/0123.jpg", cipher: &testSecret}, shared.within},
	} {
		n := el(nsClient, "message").add(el(nsClient, "body").say(c.body())).add(c.nodes(c.shared)...)
		golden(t, "files/out-"+name+".golden", strings.ReplaceAll(string(n.append(nil, "")), "><", ">\n<")+"\n")

		back, err := parseNode(n.append(nil, ""))
		must(t, err)
		files, rest := decodeFiles(back, back.child(nsClient, "body").said(), false)
		want := c.file
		want.URL, want.Cipher, want.Voice = c.at, c.cipher, false // no client marks a file as spoken
		if want.Thumb = nil; c.thumb != "" {
			want.Thumb = &gateway.File{Name: "t.jpg", MIME: "image/jpeg", Width: 96, Height: 72, URL: c.thumb}
		}
		if rest != "" || len(files) != 1 || !reflect.DeepEqual(files[0], want) {
			t.Errorf("%s: read back as %+v with %q, want %+v", name, files, rest, want)
		}
	}
	legacy := shared{file: testPicture, at: "https://files.test:5281/a/0123.jpg", cipher: &testSecret}.body()
	if want := "aesgcm://files.test:5281/a/0123.jpg#" + strings.Repeat("b2", 12) + strings.Repeat("a1", 32); legacy != want {
		t.Errorf("sealed in the legacy version: %s, want %s", legacy, want)
	}
	files, rest := decodeFiles(nil, legacy, true)
	if len(files) != 1 || rest != "" || files[0].Public || files[0].URL != "https://files.test:5281/a/0123.jpg" || !bytes.Equal(files[0].Cipher.Key, testSecret.Key) || !bytes.Equal(files[0].Cipher.IV, testSecret.IV) {
		t.Errorf("read back as %+v with %q", files, rest)
	}
}

func TestWhatIsNoSealedFile(t *testing.T) {
	good := strings.Repeat("ab", 44)
	for text, want := range map[string]bool{
		"aesgcm://h/p#" + good:                                   true,
		"AESGCM://h/p#" + strings.ToUpper(good):                  true,
		"aesgcm://h/p#" + strings.Repeat("ab", 48):               true,
		"aesgcm://h/p#" + good + "\ndata:image/jpeg,xyz":         true,
		"aesgcm://h/p#" + good + "\n":                            true,
		"aesgcm://h/p#" + strings.Repeat("ab", 43):               false, // an IV of 11 bytes
		"aesgcm://h/p#" + strings.Repeat("ab", 45):               false,
		"aesgcm://h/p#" + good[1:]:                               false,
		"aesgcm://h/p":                                           false,
		"aesgcm:///p#" + good:                                    false,
		"aesgcm://user:pass@h/p#" + good:                         false,
		"aesgcm://h/p q#" + good:                                 false,
		"look: aesgcm://h/p#" + good:                             false,
		"aesgcm://h/p#" + good + " nice":                         false,
		"aesgcm://h/p#" + good + "\nnice":                        false,
		"aesgcm://h/p#" + good + "\ndata:x\nmore":                false,
		"aesgcm://h/" + strings.Repeat("p", maxURL) + "#" + good: false,
		"https://h/p#" + good:                                    false,
	} {
		if _, ok := decodeAESGCM(text); ok != want {
			t.Errorf("%.80q: %v", text, ok)
		}
	}
}

func TestWhereFilesLie(t *testing.T) {
	for at, want := range map[string]string{
		"https://h/a b":                            "https://h/a%20b",
		"https://h/\u202egnp.exe":                  "https://h/%E2%80%AEgnp.exe",
		"https://h/?q=\u202egnp.exe":               "",
		"https://h\u0430.test/x":                   "",
		"https://h/a\nb":                           "",
		"https://h:5281/a?b=c#d":                   "https://h:5281/a?b=c#d",
		"HTTPS://h/x":                              "https://h/x",
		"https:///x":                               "",
		"https://u@h/x":                            "",
		"javascript:alert(1)":                      "",
		"data:text/html,x":                         "",
		"//h/x":                                    "",
		"https://[fe80::1%25eth0]/x":               "https://[fe80::1%25eth0]/x", // for the guard to refuse
		"http://0x7f000001/x":                      "http://0x7f000001/x",
		"https://h/" + strings.Repeat("p", maxURL): "",
	} {
		if f, ok := fileAt(at); f.URL != want || ok != (want != "") {
			t.Errorf("%.60q: %q, %v", at, f.URL, ok)
		}
	}
}

// TestWhatStandsOutsideOfASealedBodyIsNoFile: a server may have written it.
func TestWhatStandsOutsideOfASealedBodyIsNoFile(t *testing.T) {
	if files, rest := decodeFiles(nil, "https://evil.test/x.png", true); len(files) != 0 || rest != "https://evil.test/x.png" {
		t.Errorf("got %+v, %q", files, rest)
	}
}

func TestFileNames(t *testing.T) {
	for name, want := range map[string]string{
		"../../x": "x", `C:\temp\cat.png`: "cat.png", "a\r\nb.txt": "a b.txt", "\u202egpj.exe": "gpj.exe", "": "file", "...": "file", "..": "file", "a/": "file",
		strings.Repeat("n", 4096) + ".jpeg": strings.Repeat("n", 59) + ".jpeg",
		strings.Repeat("ü", 100):            strings.Repeat("ü", 64),
	} {
		if got := fileName(name); got != want {
			t.Errorf("%.40q: %q, want %q", name, got, want)
		}
	}
}

// Clients tell by the ending of a link, above all of an aesgcm one, whether it leads to a picture.
func TestPicturesHaveAnEndingThatSaysSo(t *testing.T) {
	for _, c := range []struct{ name, mime, want string }{
		{"thumbs up", "image/png", "thumbs up.png"},
		{"Mr. Smith", "image/webp", "Mr. Smith.webp"},
		{"", "audio/ogg", "file.ogg"},
		{"cat.JPG", "image/jpeg", "cat.JPG"},
		{"cat.jpeg", "image/png", "cat.jpeg"}, // it says that it is a picture
		{"notes", "text/plain", "notes"},
		{"drawing", "image/x-unheard-of", "drawing"},
	} {
		if got := tellingName(c.name, c.mime); got != c.want {
			t.Errorf("%q of %s is called %q, not %q", c.name, c.mime, got, c.want)
		}
	}
	if got, err := hiddenName(tellingName("thumbs up", "image/png")); err != nil || !strings.HasSuffix(got, ".png") || strings.Contains(got, "thumbs") {
		t.Errorf("a sealed sticker is called %q: %v", got, err)
	}
}

func TestTooManyFilesAreLeftOut(t *testing.T) {
	n := el(nsClient, "message")
	for range gateway.MaxFiles + 5 {
		n.add(shared{file: testVoice, at: "https://files.test/v"}.sharing())
	}
	if files, _ := decodeFiles(n, "", true); len(files) != gateway.MaxFiles {
		t.Errorf("%d files", len(files))
	}
}

func FuzzAESGCM(f *testing.F) {
	f.Add("aesgcm://h/p#" + strings.Repeat("ab", 44))
	f.Add("aesgcm://h/p#" + strings.Repeat("AB", 48) + "\ndata:image/jpeg,x")
	f.Fuzz(func(t *testing.T, text string) {
		file, ok := decodeAESGCM(text)
		if !ok {
			return
		}
		again, ok := decodeAESGCM(shared{at: file.URL, cipher: file.Cipher}.body())
		if !ok || again.URL != file.URL || !reflect.DeepEqual(again.Cipher, file.Cipher) {
			t.Errorf("%q became %+v, and that %+v", text, file, again)
		}
	})
}

func FuzzFileSharing(f *testing.F) {
	cases, _ := filepath.Glob("testdata/files/in-*.xml")
	for _, file := range cases {
		raw, err := os.ReadFile(file)
		must(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, err := parseNode(raw)
		if err != nil {
			return
		}
		files, _ := decodeFiles(n, n.child(nsClient, "body").said(), true)
		for _, file := range files {
			switch {
			case len(files) > gateway.MaxFiles, file.URL == "", file.Size < 0, file.Width < 0, file.Height < 0, file.Duration < 0, len(file.Blurhash) > gateway.MaxBlurhash,
				file.Public && file.Cipher != nil, strings.ContainsAny(file.Name, "/\\\n\r\x00"), file.Name == "":
				t.Errorf("%q became %+v", raw, files)
			}
		}
	})
}
