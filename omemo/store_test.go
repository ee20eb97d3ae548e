package omemo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
)

// mapStore keeps state in memory and counts the calls.
type mapStore struct {
	values       map[string][]byte
	reads        int
	writes       int
	bytesRead    int
	bytesWritten int
}

func newMapStore() *mapStore { return &mapStore{values: make(map[string][]byte)} }

func (s *mapStore) GetMany(_ context.Context, keys []string) (map[string][]byte, error) {
	s.reads++
	out := make(map[string][]byte, len(keys))
	for _, k := range keys {
		if v, ok := s.values[k]; ok {
			out[k] = v
			s.bytesRead += len(v)
		}
	}
	return out, nil
}

func (s *mapStore) List(_ context.Context, prefix string) (map[string][]byte, error) {
	s.reads++
	out := make(map[string][]byte)
	for k, v := range s.values {
		if strings.HasPrefix(k, prefix) {
			out[k] = v
		}
	}
	return out, nil
}

func (s *mapStore) PutMany(_ context.Context, values map[string][]byte) error {
	s.writes++
	for k, v := range values {
		s.bytesWritten += len(v)
		if v == nil {
			delete(s.values, k)
		} else {
			s.values[k] = v
		}
	}
	return nil
}

func (s *mapStore) snapshot() map[string]string {
	out := make(map[string]string, len(s.values))
	for k, v := range s.values {
		out[k] = string(v)
	}
	return out
}

func (s *mapStore) mustEqual(t *testing.T, before map[string]string) {
	t.Helper()
	if !maps.Equal(before, s.snapshot()) {
		t.Fatal("the state changed")
	}
}

// script is a source of randomness that gives out what it was told to first.
type script struct{ queue []byte }

func (s *script) push(b ...[]byte) {
	for _, p := range b {
		s.queue = append(s.queue, p...)
	}
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.queue) == 0 {
		return io.ReadFull(rand.Reader, p)
	}
	n := copy(p, s.queue)
	s.queue = s.queue[n:]
	return n, nil
}

// checkState decodes every stored value and expects the same bytes again.
func checkState(t testing.TB, s *mapStore) {
	t.Helper()
	if err := check(s); err != nil {
		t.Fatal(err)
	}
}

func check(s *mapStore) error {
	for key, value := range s.values {
		if key == TrustKey {
			j, err := new(Manager).judge(s.values)
			if err != nil || !bytes.Equal(j.marshal(), value) {
				return fmt.Errorf("decisions marshalled again differ, %w", err)
			}
			continue
		}
		_, kind, _ := strings.Cut(strings.TrimPrefix(key, "omemo/"), "/")
		kind = strings.TrimPrefix(strings.TrimPrefix(kind, "l/"), "2/")
		kind, rest, _ := strings.Cut(kind, "/")
		again, err := remarshal(s, kind, rest, key, value)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if !bytes.Equal(again, value) {
			return fmt.Errorf("%s: marshalled again it differs", key)
		}
	}
	return nil
}

func remarshal(s *mapStore, kind, rest, key string, value []byte) ([]byte, error) {
	switch kind {
	case "device":
		id, err := unmarshalIdentity(value)
		return id.marshal(), err
	case "stock":
		st, err := unmarshalStock(value)
		return st.marshal(), err
	case "send":
		p := &page{path: rest}
		err := p.unmarshalSend(value)
		return p.marshalSend(), err
	case "hot":
		p := &page{path: rest}
		if err := p.unmarshalSend(s.values[strings.Replace(key, "/hot/", "/send/", 1)]); err != nil {
			return nil, err
		}
		err := p.unmarshalHot(value)
		return p.marshalHot(), err
	case "ratchet":
		var one session
		err := one.unmarshalRatchet(value)
		return one.marshalRatchet(), err
	case "record":
		rec, err := unmarshalRecord(value, s.values[strings.Replace(key, "/record/", "/ratchet/", 1)])
		if err != nil {
			return nil, err
		}
		return rec.marshal(), nil
	}
	return nil, errors.New("unknown kind of value")
}
