package xmppside

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestManyPiecesOfTextCostNoMoreThanTheirLength: whoever writes a stanza chooses how often its text is broken.
func TestManyPiecesOfTextCostNoMoreThanTheirLength(t *testing.T) {
	const pieces = maxNodes - 2
	words := strings.Repeat("word ", 8)
	for name, piece := range map[string]string{"elements": words + "<a/>", "sections": words + "<![CDATA[]]>"} {
		raw := []byte("<message>" + strings.Repeat(piece, pieces) + "</message>")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n, err := parseNode(raw)
		runtime.ReadMemStats(&after)
		must(t, err)
		if n.text != strings.Repeat(words, pieces) {
			t.Errorf("%s: a text of %d bytes", name, len(n.text))
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
			t.Errorf("%s: %d MB for %d KB", name, used>>20, len(raw)>>10)
		}
	}
	var many strings.Builder
	for i := range maxBindings + 1 {
		fmt.Fprintf(&many, " xmlns:a%d='urn:x'", i)
	}
	if _, err := parseNode([]byte("<message" + many.String() + "/>")); !errors.Is(err, errTooComplex) {
		t.Errorf("too many namespaces: %v", err)
	}
}
