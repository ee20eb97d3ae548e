package omemo

import "testing"

// TestWithoutInstructions runs what the assembly serves on the ways that other
// processors take.
func TestWithoutInstructions(t *testing.T) {
	if !accelerated {
		return // so has everything else
	}
	accelerated = false
	defer func() { accelerated = true }()
	for name, test := range map[string]func(*testing.T){
		"HMAC": TestHMACAndHKDF, "CBC": TestCBC, "base64": TestAppendBase64, "conversation": TestConversation, "out of order": TestOutOfOrder,
	} {
		t.Run(name, test)
	}
}

// TestWithAndWithoutInstructions: what one way has sealed the other one opens.
func TestWithAndWithoutInstructions(t *testing.T) {
	with := accelerated
	defer func() { accelerated = with }()
	alice, bob := newPair(t, Two)
	for i := range 8 {
		accelerated = with && i&1 == 0
		msg := alice.seal(t, bob, "hello")
		accelerated = with && i&1 != 0
		if opened, err := bob.open(alice, msg); err != nil || string(opened.Plain) != "hello" {
			t.Fatalf("%q, %v", opened.Plain, err)
		}
		if i&2 != 0 {
			reply(t, bob, alice)
		}
	}
}
