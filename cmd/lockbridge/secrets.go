package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// secrets puts the values in place that stand elsewhere: "env:NAME" and "file:PATH".
type secrets struct {
	lookup func(name string) (string, bool) // os.LookupEnv
	found  *findings
	inline []finding // secrets that stand in the file itself
}

// resolve replaces what it can in v, in place, and returns it. A value that is not there stays as written.
func (s *secrets) resolve(path string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			v[key] = s.resolve(join(path, key), inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = s.resolve(join(path, strconv.Itoa(i)), inner)
		}
	case string:
		return s.text(path, v)
	}
	return v
}

func (s *secrets) text(path, v string) string {
	if name, ok := strings.CutPrefix(v, "env:"); ok {
		value, set := s.lookup(name)
		if !set || value == "" {
			s.missing(path, fmt.Sprintf("the environment variable %s is not set", name), "set it where `lockbridge run` is started")
			return v
		}
		return value
	}
	if name, ok := strings.CutPrefix(v, "file:"); ok {
		value, err := s.file(path, name)
		if err != nil {
			return v
		}
		return value
	}
	if secretKey(path, v) {
		s.inline = append(s.inline, finding{key: path, text: "a secret stands in a file that others can read",
			remedy: fmt.Sprintf(`chmod 600 %s, or "env:NAME" or "file:PATH" instead`, s.found.file), warning: true})
	}
	return v
}

func (s *secrets) file(path, name string) (string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		what := fmt.Sprintf("the file %s cannot be read (%v)", name, errors.Unwrap(err))
		if errors.Is(err, fs.ErrNotExist) {
			what = fmt.Sprintf("the file %s does not exist", name)
		}
		remedy := "write the value into it, mode 0600"
		if path == "store.key" {
			remedy = "`lockbridge init` makes one; a store that exists needs the key that wrote it"
		}
		s.missing(path, what, remedy)
		return "", err
	}
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o004 != 0 {
		s.found.add(finding{key: path, text: fmt.Sprintf("the file %s can be read by others", name), remedy: "chmod 600 " + name, warning: true})
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}

func (s *secrets) missing(path, text, remedy string) {
	s.found.unresolved[path] = true
	s.found.add(finding{key: path, text: text, remedy: remedy, absent: true})
}

// secretKey tells whether the value under a key is one to hide.
func secretKey(path, v string) bool {
	if u, err := url.Parse(v); err == nil && u.User != nil {
		_, has := u.User.Password()
		return has
	}
	last := path[strings.LastIndexByte(path, '.')+1:]
	return v != "" && slices.Contains([]string{"secret", "password", "key"}, last)
}
