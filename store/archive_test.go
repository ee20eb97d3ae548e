package store

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

func sealArchive(t testing.TB, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := newArchiveWriter(&b, make([]byte, KeySize), zeroes{})
	if err == nil {
		_, err = w.Write(plain)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArchiveOfAnyLength(t *testing.T) {
	for _, n := range []int{0, 1, archiveChunk - 1, archiveChunk, archiveChunk + 1, 2 * archiveChunk, 3*archiveChunk + 7} {
		plain := bytes.Repeat([]byte("length"), n/6+1)[:n]
		r, err := newArchiveReader(bytes.NewReader(sealArchive(t, plain)), make([]byte, KeySize))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: %d, %v", n, len(got), err)
		}
	}
}

// FuzzBackup reads any bytes as a backup, and as what a backup holds. Nothing may panic, take more memory than there are
// bytes, or be accepted that was not sealed.
func FuzzBackup(f *testing.F) {
	key := make([]byte, KeySize)
	head := `{"schema":1,"made":"2026-01-02T03:04:05Z","tables":[{"name":"state","columns":["network text","key bytea","flag boolean","n bigint"],"rows":2,"last":7}]}`
	plain := slices.Concat([]byte{byte(len(head)) | 0x80, byte(len(head) >> 7)}, []byte(head))
	for range 2 {
		for i, v := range []any{"x", []byte{1, 2}, true, nil} {
			var err error
			if plain, err = appendValue(plain, v, []string{"network text", "key bytea", "flag boolean", "n bigint"}[i]); err != nil {
				f.Fatal(err)
			}
		}
	}
	f.Add(plain)
	f.Add(sealArchive(f, plain))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := CheckBackup(bytes.NewReader(data), key, nil); err == nil && !bytes.Equal(data[:archiveHead], sealArchive(t, nil)[:archiveHead]) {
			t.Error("accepted what nobody sealed")
		}
		b, err := openBackup(bytes.NewReader(sealArchive(t, data)), key)
		for n := 0; err == nil; n++ {
			var table table
			var row []any
			if table, row, err = b.next(); err == nil && len(row) != len(table.Columns) {
				t.Errorf("a row of %d for %d columns", len(row), len(table.Columns))
			}
			if n > 10+len(data) && err == nil && len(row) > 0 {
				t.Fatal("more rows than bytes")
			}
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, errDamaged) && b != nil {
			t.Errorf("got %v", err)
		}
	})
}

// TestEveryTableIsKnown: whoever adds a table decides whether a backup holds it.
func TestEveryTableIsKnown(t *testing.T) {
	s, err := Open(t.Context(), Config{URL: "sqlite:" + t.TempDir() + "/a.db", Key: make([]byte, KeySize)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tables, err := s.tables(t.Context(), s.db.RawDB)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if !table.inBackup() && !slices.Contains([]string{"lease", "version", "database_owner"}, table.Name) {
			t.Errorf("table %s is in no backup", table.Name)
		}
	}
}
