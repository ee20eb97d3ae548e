package xmppside

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

func TestAnOperatorSeesEachKeyOnce(t *testing.T) {
	ctx := t.Context()
	state := sidetest.NewState()
	ours, theirs := omemo.NewManager(state, omemo.Options{}), omemo.NewManager(sidetest.NewState(), omemo.Options{})
	const self, puppet, juliet = "lockbridge@bridge.test", "alice%matrix@bridge.test", "juliet@example.org"
	device, err := theirs.EnsureDevice(ctx, juliet)
	must(t, err)
	must(t, state.Update(ctx, func(ctx context.Context) error {
		for _, to := range []struct {
			own     string
			version omemo.Version
		}{{self, omemo.Legacy}, {self, omemo.Two}, {puppet, omemo.Two}} {
			own, err := ours.EnsureDevice(ctx, to.own)
			must(t, err)
			bundle, err := ours.Bundle(ctx, to.version, to.own)
			must(t, err)
			at := omemo.Address{JID: to.own, Device: own.ID}
			msg, _, err := theirs.Seal(t.Context(), to.version, juliet, []omemo.Address{at}, map[omemo.Address]*omemo.Bundle{at: bundle}, []byte("x"))
			must(t, err)
			msg, err = omemo.ParseMessage(to.version, msg.AppendXML(nil), at)
			must(t, err)
			_, err = ours.Open(ctx, to.own, []string{juliet}, msg)
			must(t, err)
		}
		return nil
	}))
	pin, later := strings.Repeat("00", 31)+"09", strings.Repeat("00", 31)+"01"
	o, err := NewOperator(Config{Component: "bridge.test", Nick: "lockbridge", OMEMO: OMEMO{Pins: map[string][]string{"Romeo@example.org": {pin}}}}, state)
	must(t, err)
	for _, claim := range []string{later, device.Identity.Fingerprint()} {
		claims, err := o.ParseClaims("JULIET@example.org/phone", claim)
		must(t, err)
		must(t, o.Decide(ctx, claims[0], Verify))
	}
	keys, err := o.Keys(ctx)
	must(t, err)
	var got []string
	for _, k := range keys {
		got = append(got, fmt.Sprint(k.JID, " ", k.Device, " ", strings.ReplaceAll(k.Fingerprint, " ", ""), " ", k.Versions, " ", k.Trust, " ", k.Decided, k.Pinned, " ", k.Own))
	}
	want := []string{
		fmt.Sprint(juliet, " ", device.ID, " ", strings.ReplaceAll(device.Identity.Fingerprint(), " ", ""), " [legacy omemo:2] verified true false [", puppet, " ", self, "]"),
		fmt.Sprint(juliet, " 0 ", later, " [] verified true false []"),
		fmt.Sprint("romeo@example.org 0 ", pin, " [] verified false true []"),
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func FuzzParseClaims(f *testing.F) {
	f.Add("juliet@example.org", strings.Repeat("0a", 32))
	f.Add("xmpp:juliet@example.org?omemo-sid-1="+strings.Repeat("0a", 32)+";omemo="+strings.Repeat("0b", 32), "")
	f.Add("xmpp:%zz@example.org?omemo=", "x")
	o, err := NewOperator(Config{Component: "bridge.test", Nick: "lockbridge"}, sidetest.NewState())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, who, fingerprint string) {
		claims, err := o.ParseClaims(who, fingerprint)
		if (err == nil) != (len(claims) > 0) {
			t.Fatalf("%v, %v", claims, err)
		}
		for _, c := range claims {
			if normalBare(c.JID) != c.JID || !strings.Contains(c.JID, "@") || len(c.Fingerprint) != 71 {
				t.Errorf("%+v", c)
			}
		}
	})
}
