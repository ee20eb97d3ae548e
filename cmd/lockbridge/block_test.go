package main

import (
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
)

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"secret", "sercet", 2}, {"listen", "listen", 0}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{"90d": 90 * day, "1d12h": 36 * time.Hour, "24h": day, "0d": 0, "1m30s": 90 * time.Second, "106750d": 106750 * day} {
		if got, err := parseDuration(s); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "d", "-1d", "1.5d", "1d24h", "1d-1h", "1d1", "1dd", "12h1d", "106751d1h", "106752d", "99999999999999999999d", "1w", "5"} {
		if got, err := parseDuration(s); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

func TestDecodeKeepsDefaultsAndFillsEveryType(t *testing.T) {
	type inner struct {
		Name string `toml:"name"`
	}
	type outer struct {
		Text  string              `toml:"text"`
		Kept  string              `toml:"kept"`
		Wait  time.Duration       `toml:"wait"`
		Count int                 `toml:"count"`
		Rate  float64             `toml:"rate"`
		On    bool                `toml:"on"`
		List  []inner             `toml:"list"`
		Any   map[string]any      `toml:"any"`
		Lists map[string][]string `toml:"lists"`
		Not   string
	}
	got := outer{Kept: "default", Wait: time.Second}
	bad := decodeTOML(t, `
text = "x"
wait = "1m30s"
count = 7
rate = 1.5
on = true
list = [{ name = "a" }, { name = "b" }]
any = { x = "s", y = { z = 1 } }
lists = { "juliet@example.org" = ["a", "b"], none = [] }
`, &got)
	if len(bad) != 0 {
		t.Fatal(bad)
	}
	if got.Text != "x" || got.Kept != "default" || got.Wait != 90*time.Second || got.Count != 7 || got.Rate != 1.5 || !got.On ||
		len(got.List) != 2 || got.List[1].Name != "b" || got.Any["y"].(map[string]any)["z"] != int64(1) ||
		len(got.Lists) != 2 || len(got.Lists["juliet@example.org"]) != 2 || got.Lists["juliet@example.org"][1] != "b" {
		t.Errorf("decoded %+v", got)
	}
	bad = decodeTOML(t, `
Not = "x"
text = ["x"]
wait = 5
count = 1.5
rate = true
on = "yes"
list = [{ nam = "a" }, 7]
any = 1979-05-27
lists = { "juliet@example.org" = ["a", 7], "romeo@example.org" = "a" }
`, &got)
	want := []string{
		`Not: unknown key (the nearest known key is "on")`,
		"any: must be a table, not a date",
		"count: must be a whole number, not a number",
		`list.0.nam: unknown key (the nearest known key is "name")`,
		"list.1: must be a table, not a whole number",
		"lists.juliet@example.org.1: must be a string, not a whole number",
		"lists.romeo@example.org: must be a list, not a string",
		"on: must be true or false, not a string",
		"rate: must be a number, not true or false",
		"text: must be a string, not a list",
		`wait: is not a duration (write it like "500ms", "10s", "5m", "24h" or "90d")`,
	}
	for i, p := range bad {
		if i >= len(want) || p.Error() != want[i] {
			t.Errorf("problem %d: %v", i, p)
		}
	}
	if len(bad) != len(want) {
		t.Errorf("%d problems, want %d", len(bad), len(want))
	}
}

func decodeTOML(t *testing.T, text string, into any) []error {
	t.Helper()
	var table map[string]any
	if err := toml.Unmarshal([]byte(text), &table); err != nil {
		t.Fatal(err)
	}
	var out []error
	for _, p := range block(table).Decode(into) {
		out = append(out, p)
	}
	return out
}

// FuzzParseDocument: whatever the file holds, its findings have lines and nothing panics.
func FuzzParseDocument(f *testing.F) {
	f.Add([]byte("[a]\nb = { c = 1, d = [1, { e = 2 }] }\n[[l]]\nx.y = 1\n[l.m]\n[[l]]\n[l.m]\n"))
	f.Add([]byte("a = 1\na = 2\n[a.b]\n"))
	f.Add(initConfig)
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, found := parseDocument(text)
		if (doc == nil) != (len(found) > 0) {
			t.Fatalf("document %v with findings %v", doc, found)
		}
		for _, one := range found {
			if one.line < 1 || one.text == "" {
				t.Errorf("finding %+v", one)
			}
		}
		if doc != nil {
			block(doc.root).Decode(&config{})
		}
	})
}
