package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	const stream = `go: downloading example.org/x v1.0.0
{"Action":"output","Package":"lockbridge/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"lockbridge/a","Test":"TestGood","Output":"    chatter\n"}
{"Action":"pass","Package":"lockbridge/a","Test":"TestGood/part","Elapsed":0.1}
{"Action":"pass","Package":"lockbridge/a","Test":"TestGood","Elapsed":0.2}
{"Action":"pass","Package":"lockbridge/a","Elapsed":0.3}
{"Action":"output","Package":"lockbridge/b","Test":"TestBad","Output":"    b_test.go:7: not so\n"}
{"Action":"fail","Package":"lockbridge/b","Test":"TestBad","Elapsed":1}
{"Action":"output","Package":"lockbridge/b","Output":"exit status 1\n"}
{"Action":"fail","Package":"lockbridge/b","Elapsed":1}
{"Action":"skip","Package":"lockbridge/none","Elapsed":0}
{"Action":"build-output","ImportPath":"lockbridge/c","Output":"c.go:1: broken\n"}
{"Action":"build-fail","ImportPath":"lockbridge/c"}
`
	const want = `go: downloading example.org/x v1.0.0
  pass TestGood/part (0.1 s)
ok   lockbridge/a                            2 tests    0.3 s
  FAIL lockbridge/b TestBad (1.0 s)
        b_test.go:7: not so
FAIL lockbridge/b
    exit status 1
c.go:1: broken
`
	var out strings.Builder
	s := summary{out: &out, names: true, said: map[string][]string{}, ran: map[string]int{}, parents: map[string]bool{}}
	if err := s.read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	if s.passed != 2 || s.failed != 1 || !s.broken {
		t.Errorf("%d passed, %d failed, broken %v", s.passed, s.failed, s.broken)
	}
}
