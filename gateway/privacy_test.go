package gateway

import "testing"

// fixedPrivacy is a Block whose table is already decoded: it names receipts alone.
type fixedPrivacy Receipts

func (f fixedPrivacy) Decode(into any) []Problem {
	into.(*Privacy).Receipts = Receipts(f)
	return nil
}

func TestParsePrivacy(t *testing.T) {
	for receipts, good := range map[Receipts]bool{ReceiptsOff: true, ReceiptsDirect: true, ReceiptsAll: true, "": false, "some": false} {
		p, bad := ParsePrivacy(fixedPrivacy(receipts))
		if good != (len(bad) == 0) {
			t.Errorf("receipts = %q: %v", receipts, bad)
		}
		if !p.Typing || !p.Avatars {
			t.Errorf("what is not named is %+v, want it switched on", p)
		}
	}
}
