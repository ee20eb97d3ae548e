package gateway

import (
	"fmt"
	"slices"
)

// Receipts says how far the gateway carries who has read what.
type Receipts string

// The values of the receipts setting.
const (
	ReceiptsOff    Receipts = "off"
	ReceiptsDirect Receipts = "direct" // in direct chats
	ReceiptsAll    Receipts = "all"    // in rooms as well
)

// Privacy is the [privacy] table: what of people's doings crosses besides what they say. The zero value carries none of
// it.
type Privacy struct {
	Typing   bool     `toml:"typing"`
	Receipts Receipts `toml:"receipts"` // "" is off
	Avatars  bool     `toml:"avatars"`
}

// ParsePrivacy decodes and checks the [privacy] table.
func ParsePrivacy(block Block) (Privacy, []Problem) {
	p := Privacy{Typing: true, Receipts: ReceiptsDirect, Avatars: true}
	bad := block.Decode(&p)
	if !slices.Contains([]Receipts{ReceiptsOff, ReceiptsDirect, ReceiptsAll}, p.Receipts) {
		bad = append(bad, Problem{"receipts", fmt.Sprintf("%q is no receipts setting", p.Receipts), `"direct", "all" or "off"`})
	}
	return p, bad
}
