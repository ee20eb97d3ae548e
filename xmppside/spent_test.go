package xmppside

import (
	"slices"
	"testing"

	"lockbridge/omemo"
)

func offer(ids ...uint32) *omemo.Bundle {
	b := new(omemo.Bundle)
	for _, id := range ids {
		b.PreKeys = append(b.PreKeys, omemo.PublicPreKey{ID: id})
	}
	return b
}

func offered(b *omemo.Bundle) []uint32 {
	var ids []uint32
	for _, k := range b.PreKeys {
		ids = append(ids, k.ID)
	}
	return ids
}

func TestAPreKeyIsUsedOnce(t *testing.T) {
	var s spent
	a := deviceName{omemo.Address{JID: "juliet@example.org", Device: 1}, omemo.Legacy}
	other := deviceName{a.Address, omemo.Two}
	s.use(a, 2)
	s.use(a, 3)
	for _, c := range []struct {
		of    deviceName
		offer []uint32
		want  []uint32
	}{
		{a, []uint32{1, 2, 3}, []uint32{1}},
		{other, []uint32{1, 2, 3}, []uint32{1, 2, 3}},
		{a, []uint32{2, 3}, []uint32{2}},    // the one used longest ago is better than none
		{a, []uint32{1, 3}, []uint32{1}},    // 2 is taken out by its device,
		{a, []uint32{1, 2}, []uint32{1, 2}}, // and 3 as well: ids may come back
	} {
		if got := offered(s.fresh(c.of, offer(c.offer...))); !slices.Equal(got, c.want) {
			t.Errorf("of %v offered %v are left, want %v", c.offer, got, c.want)
		}
	}
	if len(s.by) != 0 {
		t.Errorf("remembered for ever: %v", s.by)
	}
}

func TestARepairUsesOnePreKey(t *testing.T) {
	var s spent
	a := deviceName{omemo.Address{JID: "juliet@example.org", Device: 1}, omemo.Legacy}
	for range 3 {
		b := s.one(a, s.fresh(a, offer(1, 2, 3)))
		if len(b.PreKeys) != 1 {
			t.Fatalf("%v", offered(b))
		}
	}
	if got := slices.Sorted(slices.Values(s.by[a])); !slices.Equal(got, []uint32{1, 2, 3}) {
		t.Errorf("used %v, want each once", got)
	}
}

func TestWhatIsRememberedOfPreKeysIsBounded(t *testing.T) {
	var s spent
	for i := range uint32(2 * maxBroken) {
		s.use(deviceName{omemo.Address{JID: "juliet@example.org", Device: i}, omemo.Legacy}, 1)
	}
	for i := range uint32(2 * maxSpent) {
		s.use(deviceName{omemo.Address{JID: "juliet@example.org", Device: 1}, omemo.Legacy}, i)
	}
	if len(s.by) > maxBroken || len(s.by[deviceName{omemo.Address{JID: "juliet@example.org", Device: 1}, omemo.Legacy}]) > maxSpent {
		t.Error("it is not")
	}
}
