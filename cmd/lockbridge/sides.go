package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"lockbridge/gateway"
	"lockbridge/gateway/media"
	"lockbridge/ircside"
	"lockbridge/matrixside"
	"lockbridge/xmppside"
)

// kind is what the program knows about one kind of network. A new network is one more entry in kinds.
type kind struct {
	name     string
	encrypts bool   // its side can seal rooms end to end
	address  string // the key of its block that says where its server is
	room     string // what its rooms' addresses look like
	isRoom   func(address string) bool
	parse    func(gateway.Block) (builder, []gateway.Problem)
	// textOnly: its rooms show no files, so people there get links.
	textOnly bool
	// files fetches what only the network's own server gives out; nil where there is no such thing.
	files func(gateway.Block) (media.Source, error)
	// register writes what the network's server must know about us, unless it exists; compare reports where that file
	// is missing, or how it differs from the block. Both nil where there is no such file.
	register func(gateway.Block) (path string, written bool, err error)
	compare  func(gateway.Block) (missing string, problems []gateway.Problem)
	// keys opens the network's keys for an admin's commands; nil where it has none. state may write the keys it is given.
	keys func(b gateway.Block, state func(own ...string) gateway.State) (*xmppside.Operator, error)
}

// builder makes a side of a block that was read.
type builder func(gateway.Deps) (gateway.Side, error)

// kinds lists every kind of network.
func kinds() map[string]kind {
	return map[string]kind{
		"xmpp": {
			name: "xmpp", encrypts: true, address: "server", room: `"lobby@conference.example.org"`, isRoom: xmppside.IsRoom,
			parse: reads(xmppside.Parse, xmppside.New), keys: xmppKeys,
		},
		"matrix": {
			name: "matrix", address: "homeserver", room: `"#lobby:example.org" or "!id:example.org"`, isRoom: matrixside.IsRoom,
			parse: reads(matrixside.Parse, matrixside.New), register: registerMatrix, compare: compareMatrix, files: matrixFiles,
		},
		"irc": {
			name: "irc", textOnly: true, address: "server", room: `"#lobby"`, isRoom: ircside.IsChannel,
			parse: reads(ircside.Parse, ircside.New),
		},
	}
}

// reads ties a side's two functions together, so that its Config stays its own affair.
func reads[C any, S gateway.Side](parse func(gateway.Block) (C, []gateway.Problem), build func(C, gateway.Deps) (S, error)) func(gateway.Block) (builder, []gateway.Problem) {
	return func(b gateway.Block) (builder, []gateway.Problem) {
		cfg, problems := parse(b)
		return func(d gateway.Deps) (gateway.Side, error) { return build(cfg, d) }, problems
	}
}

func xmppKeys(b gateway.Block, state func(own ...string) gateway.State) (*xmppside.Operator, error) {
	cfg, _ := xmppside.Parse(b)
	return xmppside.NewOperator(cfg, state(xmppside.OperatorKey))
}

func matrixFiles(b gateway.Block) (media.Source, error) {
	cfg, _ := matrixside.Parse(b)
	return matrixside.NewFiles(cfg)
}

func registerMatrix(b gateway.Block) (path string, written bool, err error) {
	cfg, _ := matrixside.Parse(b)
	_, err = os.Stat(cfg.Registration)
	return cfg.Registration, errors.Is(err, fs.ErrNotExist), matrixside.WriteRegistration(cfg, cfg.Registration)
}

func compareMatrix(b gateway.Block) (missing string, problems []gateway.Problem) {
	cfg, _ := matrixside.Parse(b)
	if _, err := os.Stat(cfg.Registration); errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("the file %s does not exist", cfg.Registration), nil
	}
	return "", matrixside.CheckRegistration(cfg)
}
