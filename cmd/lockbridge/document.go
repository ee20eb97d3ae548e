package main

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// document is a parsed configuration file that still knows on which line each key stands.
type document struct {
	root map[string]any
	// lines holds the line of every key and table by its dotted path. Elements of lists are numbered from 0:
	// "bridge.0.rooms.xmpp".
	lines map[string]int
}

// parseDocument reads TOML. Its findings are errors of syntax and keys that are defined twice; with any of them there
// is no document.
func parseDocument(text []byte) (*document, []finding) {
	var root map[string]any
	parseErr := toml.Unmarshal(text, &root)
	var syntax *toml.DecodeError
	if errors.As(parseErr, &syntax) {
		line, _ := syntax.Position()
		what := strings.TrimSuffix(strings.TrimSpace(strings.TrimPrefix(syntax.Error(), "toml: ")), ":")
		return nil, []finding{{line: line, text: "cannot be read as TOML: " + what}}
	}
	s := scan{lines: map[string]int{"": 1}, tables: map[string]int{}, lists: map[string]int{}}
	s.parser.Reset(text)
	for s.parser.NextExpression() {
		s.expression(s.parser.Expression())
	}
	switch {
	case len(s.twice) > 0:
		return nil, s.twice
	case parseErr != nil: // a clash that scan does not look for; the decoder does not tell where it is
		return nil, []finding{{line: 1, text: strings.TrimPrefix(parseErr.Error(), "toml: ")}}
	}
	return &document{root: root, lines: s.lines}, nil
}

// line tells where path stands, or the nearest thing around it that stands in the file.
func (d *document) line(path string) int {
	for {
		if n, ok := d.lines[path]; ok {
			return n
		}
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
	}
}

// scan walks over a document for the lines of its keys. The decoder's own values carry none.
type scan struct {
	parser unstable.Parser
	prefix string         // the table that is being read
	lines  map[string]int // see document.lines
	tables map[string]int // the [tables] by path, with their line
	lists  map[string]int // how many [[tables]] of a path there are
	twice  []finding
}

func (s *scan) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.Table:
		path, line := s.key("", n.Key())
		if first, ok := s.tables[path]; ok {
			s.twice = append(s.twice, finding{line: line, key: path,
				text: fmt.Sprintf("this table stands twice, first on line %d", first), remedy: "rename one of them or join them"})
		}
		s.prefix, s.tables[path], s.lines[path] = path, line, line
	case unstable.ArrayTable:
		path, line := s.key("", n.Key())
		s.prefix = join(path, strconv.Itoa(s.lists[path]))
		s.lists[path]++
		// A sub-table of one element may stand again in the next.
		maps.DeleteFunc(s.tables, func(t string, _ int) bool { return strings.HasPrefix(t, path+".") })
		s.lines[s.prefix] = line
		if _, ok := s.lines[path]; !ok {
			s.lines[path] = line
		}
	case unstable.KeyValue:
		s.keyValue(s.prefix, n)
	}
}

func (s *scan) keyValue(prefix string, n *unstable.Node) {
	path, line := s.key(prefix, n.Key())
	if first, ok := s.lines[path]; ok {
		s.twice = append(s.twice, finding{line: line, key: path,
			text: fmt.Sprintf("this key stands twice, first on line %d", first), remedy: "keep one of them"})
	}
	s.lines[path] = line
	s.value(path, line, n.Value())
}

func (s *scan) value(path string, line int, n *unstable.Node) {
	children := n.Children()
	switch n.Kind {
	case unstable.InlineTable:
		for children.Next() {
			s.keyValue(path, children.Node())
		}
	case unstable.Array:
		for i := 0; children.Next(); i++ {
			element := join(path, strconv.Itoa(i))
			s.lines[element] = line
			s.value(element, line, children.Node())
		}
	}
}

// key returns a key's full path and line. Elements of lists that the key passes through are the last ones so far.
func (s *scan) key(prefix string, parts unstable.Iterator) (path string, line int) {
	path = prefix
	for parts.Next() {
		if count := s.lists[path]; path != prefix && count > 0 {
			path = join(path, strconv.Itoa(count-1))
		}
		part := parts.Node()
		path = join(path, string(part.Data))
		line = s.parser.Shape(part.Raw).Start.Line
	}
	return path, line
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}
