package gateway

import "testing"

func TestReportsAreSentences(t *testing.T) {
	const here = "Your message in " + "lobby@rooms"
	for _, c := range []struct{ what, reason, want string }{
		{"Your message", "", "Your message was not delivered."},
		{"Your message", "it must be sealed", "Your message was not delivered: it must be sealed."},
		{"Your message", "not delivered to alice (libera): they left", "Your message was not delivered to alice (libera): they left."},
		{here, "not delivered to #lobby (libera): the line is too long", here + " was not delivered to #lobby (libera): the line is too long."},
		{here, "this room is bridged only end-to-end encrypted", here + " was not delivered: this room is bridged only end-to-end encrypted."},
		{here, "the server says: go away!", here + " was not delivered: the server says: go away!"},
	} {
		if got := ReportText(c.what, c.reason); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
