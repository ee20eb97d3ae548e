package main

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"lockbridge/gateway"
	"lockbridge/store"
)

// config is a whole configuration file, checked.
type config struct {
	Store    storeBlock                `toml:"store"`
	HTTP     httpBlock                 `toml:"http"`
	Log      logBlock                  `toml:"log"`
	Journal  journalBlock              `toml:"journal"`
	Media    mediaBlock                `toml:"media"`
	Direct   map[string]any            `toml:"direct"`
	Privacy  map[string]any            `toml:"privacy"`
	Networks map[string]map[string]any `toml:"network"`
	Bridges  []map[string]any          `toml:"bridge"`

	level    slog.Level
	key      []byte // of the store; nil where it could not be fetched
	keyAt    string // store.key as it is written, "file:NAME" or the like
	networks []network
	bridges  []gateway.Bridge
	direct   gateway.Direct
	privacy  gateway.Privacy

	allow       []netip.Prefix // [media] allow
	authorities *x509.CertPool // [media] tls_ca; nil: the system's
}

type storeBlock struct {
	URL   string `toml:"url"`
	Key   string `toml:"key"`
	Epoch string `toml:"epoch"` // a file; empty: none
}

type httpBlock struct {
	Listen string `toml:"listen"`
}

type logBlock struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// network is one [network.NAME] block that its side has read.
type network struct {
	name  string
	kind  kind
	block block
	build builder // nil where the block has problems
	// elsewhere: another process runs it.
	elsewhere bool
}

// load reads and checks a configuration file, and enters its folder: relative paths in it start there. What is wrong
// with the content stands in the findings; err says only that there was none. With findings that are errors the config
// is not to be used.
func load(path string, kinds map[string]kind) (*config, *findings, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the configuration: %w (`lockbridge init` writes one)", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the configuration: %w", err)
	}
	if err := os.Chdir(filepath.Dir(path)); err != nil {
		return nil, nil, fmt.Errorf("enter the configuration's folder: %w", err)
	}
	cfg := &config{
		Store: storeBlock{URL: "sqlite:lockbridge.db", Epoch: "lockbridge.epoch"}, HTTP: httpBlock{Listen: "127.0.0.1:8080"}, Log: logBlock{Level: "info", Format: "text"},
		Journal: defaultJournal(), Media: defaultMedia(),
	}
	f := &findings{file: path, unresolved: map[string]bool{}}
	doc, bad := parseDocument(text)
	f.add(bad...)
	if doc == nil {
		return cfg, f, nil
	}
	f.doc = doc
	if block, ok := doc.root["store"].(map[string]any); ok {
		cfg.keyAt, _ = block["key"].(string)
	}
	s := secrets{lookup: os.LookupEnv, found: f}
	s.resolve("", doc.root)
	if info.Mode().Perm()&0o004 != 0 {
		f.add(s.inline...)
	}
	f.problems("", block(doc.root).Decode(cfg))
	cfg.checkStore(f)
	cfg.checkHTTP(f)
	cfg.checkLog(f)
	cfg.checkJournal(f)
	cfg.readNetworks(f, kinds)
	cfg.readDirect(f)
	cfg.readPrivacy(f)
	cfg.readBridges(f)
	cfg.checkMedia(f)
	cfg.checkDoors(f)
	return cfg, f, nil
}

func (c *config) checkStore(f *findings) {
	if file, ok := strings.CutPrefix(c.Store.URL, "sqlite:"); !ok || file == "" {
		u, err := url.Parse(c.Store.URL)
		if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" && u.RawQuery == "" {
			f.add(finding{key: "store.url", text: "is no database that lockbridge knows", remedy: `"sqlite:FILE" or "postgres://USER@HOST/DATABASE"`})
		}
	}
	switch {
	case f.unresolved["store.key"]:
	case c.Store.Key == "":
		f.add(finding{key: "store.key", text: "is missing: nothing is stored without a key", remedy: "`lockbridge init` makes one; then write key = \"file:lockbridge.key\""})
	default:
		key, err := base64.StdEncoding.DecodeString(c.Store.Key)
		if err != nil || len(key) != store.KeySize {
			f.add(finding{key: "store.key", text: fmt.Sprintf("is not the base64 of %d bytes", store.KeySize), remedy: "`lockbridge init` makes a key; the key that wrote a store is the only one that reads it"})
			return
		}
		c.key = key
	}
}

func (c *config) checkHTTP(f *findings) {
	if c.HTTP.Listen == "" {
		return // switched off
	}
	if !isListen(c.HTTP.Listen) {
		f.add(finding{key: "http.listen", text: fmt.Sprintf("%q is no address to listen on", c.HTTP.Listen), remedy: `HOST:PORT, for example "127.0.0.1:8080"; "" switches it off`})
	}
}

func (c *config) checkLog(f *findings) {
	if err := c.level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		f.add(finding{key: "log.level", text: fmt.Sprintf("%q is no log level", c.Log.Level), remedy: `"debug", "info", "warn" or "error"`})
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		f.add(finding{key: "log.format", text: fmt.Sprintf("%q is no log format", c.Log.Format), remedy: `"text" or "json"`})
	}
}

// networkName is what a network may be called: the name becomes part of addresses on the other networks
// ("alice%matrix@bridge.example.org", "@lb_xmpp_juliet:example.org"), where "_", "%" and "@" separate.
var networkName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

func (c *config) readNetworks(f *findings, kinds map[string]kind) {
	if len(c.Networks) == 0 {
		f.add(finding{key: "network", text: "there is no network", remedy: "add a [network.NAME] block for each"})
	}
	known := slices.Sorted(maps.Keys(kinds))
	for _, name := range slices.Sorted(maps.Keys(c.Networks)) {
		n := network{name: name, block: block(maps.Clone(c.Networks[name]))}
		at := join("network", name)
		if !networkName.MatchString(name) {
			f.add(finding{key: at, text: fmt.Sprintf("%q cannot be the name of a network", name), remedy: "lower-case letters, digits and -, 32 at most, a letter first: it becomes part of addresses"})
		}
		kindName, _ := n.block["kind"].(string)
		delete(n.block, "kind") // the rest is the side's
		k, ok := kinds[kindName]
		switch {
		case kindName == "":
			f.add(finding{key: at, text: "has no kind", remedy: "kind = one of " + strings.Join(known, ", ")})
		case !ok:
			f.add(finding{key: at + ".kind", text: fmt.Sprintf("%q is no kind of network", kindName), remedy: "one of " + strings.Join(known, ", ")})
		default:
			build, problems := k.parse(n.block)
			f.problems(at, problems)
			if len(problems) == 0 {
				n.build = build
			}
			n.kind = k
		}
		c.networks = append(c.networks, n)
	}
}

func (c *config) readBridges(f *findings) {
	used := map[string]bool{}
	blocks := make([]gateway.Block, len(c.Bridges))
	for i, b := range c.Bridges {
		blocks[i] = block(b)
	}
	bridges, problems := gateway.ParseBridges(blocks, c.networkKinds())
	for i, bad := range problems {
		f.problems(fmt.Sprintf("bridge.%d", i), bad)
	}
	c.bridges = bridges
	kinds := c.kindsByName()
	for i, b := range bridges {
		for _, n := range slices.Sorted(maps.Keys(b.Rooms)) {
			used[n] = true
			if k := kinds[n]; k.isRoom != nil && !k.isRoom(b.Rooms[n].ID) {
				f.add(finding{key: fmt.Sprintf("bridge.%d.rooms.%s", i, n), text: fmt.Sprintf("%q is no room of a network of kind %s", b.Rooms[n].ID, k.name), remedy: "write it as in " + k.room})
			}
		}
	}
	if c.direct.Enabled() {
		return // then every network has something to carry
	}
	if len(bridges) == 0 {
		f.add(finding{key: "bridge", text: "there is no bridge and nobody may have direct chats, so nothing will be carried", remedy: "add a [[bridge]] block", warning: true})
		return
	}
	for _, n := range c.networks {
		if !used[n.name] {
			f.add(finding{key: join("network", n.name), text: "no bridge has a room of this network", remedy: "add one to a bridge, or take the network out", warning: true})
		}
	}
}

// readDirect comes before readBridges, which asks whether there are direct chats.
func (c *config) readDirect(f *findings) {
	direct, problems := gateway.ParseDirect(block(c.Direct), c.networkKinds())
	f.problems("direct", problems)
	c.direct = direct
	if !direct.Enabled() || direct.Encryption != gateway.EncryptionRequired {
		return
	}
	for _, n := range c.networks {
		if !n.kind.encrypts && !slices.Contains(direct.Clear, n.name) {
			f.add(finding{key: "direct.clear", text: fmt.Sprintf("%q cannot encrypt and is not named, so direct chats with its people are refused", n.name),
				remedy: fmt.Sprintf("if you want them, add %q", n.name), warning: true})
		}
	}
}

func (c *config) readPrivacy(f *findings) {
	privacy, problems := gateway.ParsePrivacy(block(c.Privacy))
	f.problems("privacy", problems)
	c.privacy = privacy
}

func (c *config) networkNames() []string {
	names := make([]string, len(c.networks))
	for i, n := range c.networks {
		names[i] = n.name
	}
	return names
}

func (c *config) kindsByName() map[string]kind {
	kinds := map[string]kind{}
	for _, n := range c.networks {
		kinds[n.name] = n.kind
	}
	return kinds
}

func (c *config) networkKinds() map[string]gateway.NetworkKind {
	kinds := map[string]gateway.NetworkKind{}
	for _, n := range c.networks {
		kinds[n.name] = gateway.NetworkKind{Kind: n.kind.name, Encrypts: n.kind.encrypts}
	}
	return kinds
}
