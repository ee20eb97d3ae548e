package storetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"lockbridge/gateway"
)

func testState(t *testing.T, f *fixture) {
	st := f.State(source)
	f.must(st.PutMany(f.ctx, values("a/1", "one", "a/2", "two", "a/\xff", "ff", "b", "", "a0", "beside")))
	equal(t, "a/1", f.get(st, "a/1"), "one")
	equal(t, "empty value", f.get(st, "b"), "")
	equal(t, "absent", f.get(st, "c"), "absent")
	got, err := st.List(f.ctx, "a/")
	f.must(err)
	if !maps.EqualFunc(got, values("a/1", "one", "a/2", "two", "a/\xff", "ff"), bytes.Equal) {
		t.Errorf("list: %q", got)
	}
	got, err = st.List(f.ctx, "")
	f.must(err)
	equal(t, "all", len(got), 5)
	f.must(st.PutMany(f.ctx, map[string][]byte{"a/1": nil, "a/2": []byte("deux"), "never": nil}))
	equal(t, "deleted", f.get(st, "a/1"), "absent")
	equal(t, "changed", f.get(st, "a/2"), "deux")

	for _, key := range []string{"", strings.Repeat("k", 2001)} {
		if err := st.PutMany(f.ctx, values(key, "x")); err == nil {
			t.Errorf("a key of %d bytes was taken", len(key))
		}
	}
	strange := []string{"\x00", "\xff\xff", "'\"", strings.Repeat("\xff", 2000)}
	for _, key := range strange {
		f.must(st.PutMany(f.ctx, values(key, key)))
		equal(t, "strange key", f.get(st, key), key)
	}
	got, err = st.List(f.ctx, "\xff")
	f.must(err)
	equal(t, "prefix without a successor", len(got), 2)
}

func testStateOverlay(t *testing.T, f *fixture) {
	st := f.State(source)
	f.must(st.PutMany(f.ctx, values("p/kept", "0", "p/changed", "0", "p/deleted", "0")))
	list := func(ctx context.Context, want map[string][]byte) {
		t.Helper()
		got, err := st.List(ctx, "p/")
		if err != nil || !maps.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("list: got %q, want %q (%v)", got, want, err)
		}
		many, err := st.GetMany(ctx, []string{"p/kept", "p/changed", "p/deleted", "p/new", "p/inner"})
		if err != nil || !maps.EqualFunc(many, want, bytes.Equal) {
			t.Errorf("get: got %q, want %q (%v)", many, want, err)
		}
	}
	f.must(st.Update(f.ctx, func(ctx context.Context) error {
		buffer := []byte("1")
		f.must(st.PutMany(ctx, map[string][]byte{"p/changed": buffer, "p/deleted": nil, "p/new": []byte("1")}))
		buffer[0] = 'x'
		outer := values("p/kept", "0", "p/changed", "1", "p/new", "1")
		list(ctx, outer)
		err := f.Stage(ctx, func(ctx context.Context) error {
			f.must(st.PutMany(ctx, map[string][]byte{"p/new": nil, "p/deleted": []byte("2"), "p/inner": []byte("2")}))
			list(ctx, values("p/kept", "0", "p/changed", "1", "p/deleted", "2", "p/inner", "2"))
			return context.Canceled
		})
		equal(t, "error of the stage", err, context.Canceled)
		list(ctx, outer)
		f.must(f.Stage(ctx, func(ctx context.Context) error {
			return st.PutMany(ctx, map[string][]byte{"p/new": nil, "p/inner": []byte("3")})
		}))
		list(ctx, values("p/kept", "0", "p/changed", "1", "p/inner", "3"))
		list(f.ctx, values("p/kept", "0", "p/changed", "0", "p/deleted", "0")) // outside: what is committed
		return nil
	}))
	list(f.ctx, values("p/kept", "0", "p/changed", "1", "p/inner", "3"))
}

func testStateLarge(t *testing.T, f *fixture) {
	st := f.State(source)
	put, keys := map[string][]byte{}, []string{}
	for i := range 1000 {
		key := fmt.Sprintf("session/%04d", i)
		put[key] = bytes.Repeat([]byte{byte(i)}, 600)
		keys = append(keys, key, "absent "+key)
	}
	put["page"] = bytes.Repeat([]byte("x"), 100_000)
	f.must(st.PutMany(f.ctx, put))
	got, err := st.GetMany(f.ctx, append(keys, "page"))
	f.must(err)
	if !maps.EqualFunc(got, put, bytes.Equal) {
		t.Errorf("got %d values of %d", len(got), len(put))
	}
	got, err = st.List(f.ctx, "session/")
	f.must(err)
	equal(t, "list", len(got), 1000)
}

func testOuts(t *testing.T, f *fixture) {
	st := f.State(target)
	f.append(entry(f.event("1", ""), hall), entry(f.event("2", ""), hall))
	q := f.head(hall, 2)
	one, two := "out/"+q[0].Key, "out/"+q[1].Key
	f.must(st.PutMany(f.ctx, values(one, "a", one+"/0", "b", one+"/x/y", "c", one+"-more", "d", one+"!", "e", two, "f")))
	f.finish(target, gateway.Finished{Seq: q[0].Seq, Key: q[0].Key, Retry: true, Attempt: 1})
	equal(t, "a retry keeps its bytes", f.get(st, one), "a")
	f.do(target, func(ctx context.Context) error {
		f.must(st.PutMany(ctx, values(one+"/late", "g")))
		f.must(f.Finish(ctx, []gateway.Finished{{Seq: q[0].Seq, Key: q[0].Key}}))
		got, err := st.List(ctx, "out/")
		equal(t, "in the transaction", len(got), 3)
		return err
	})
	got, err := st.List(f.ctx, "out/")
	f.must(err)
	if !maps.EqualFunc(got, values(one+"-more", "d", one+"!", "e", two, "f"), bytes.Equal) {
		t.Errorf("left: %q", got)
	}
}

func testStateNetworks(t *testing.T, f *fixture) {
	mine, other := f.State(source), f.State(target)
	f.must(mine.PutMany(f.ctx, values("k", "mine")))
	equal(t, "other network", f.get(other, "k"), "absent")
	f.must(mine.Update(f.ctx, func(ctx context.Context) error {
		if err := other.PutMany(ctx, values("k", "x")); err == nil {
			t.Error("a transaction of one network took another one's state")
		}
		if err := other.Update(ctx, func(context.Context) error { return nil }); err == nil {
			t.Error("a transaction was opened inside another network's")
		}
		got, err := other.GetMany(ctx, []string{"k"})
		equal(t, "read of the other's", len(got), 0)
		return err
	}))
}
