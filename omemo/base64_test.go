package omemo

import (
	"bytes"
	"encoding/base64"
	"slices"
	"testing"
)

func TestAppendBase64(t *testing.T) {
	every := make([]byte, 0, 3*4096) // all values of two characters
	for i := range 4096 {
		every = append(every, byte(i>>4), byte(i<<4|i>>8), byte(i))
	}
	for n := range 200 {
		for _, src := range [][]byte{random(t, n), every[n*31 : n*31+n], every[n:]} {
			got := appendBase64([]byte("before"), slices.Clip(src))
			if want := base64.StdEncoding.AppendEncode([]byte("before"), src); !bytes.Equal(got, want) {
				t.Fatalf("%x becomes %s, not %s", src, got, want)
			}
		}
	}
}
