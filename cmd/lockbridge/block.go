package main

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockbridge/gateway"
)

// block is one table of the file; it implements gateway.Block.
type block map[string]any

// Decode fills into by its toml tags; fields without one are not part of the configuration. Names are compared exactly:
// "Server" is not "server". A problem never repeats a value, which may be a secret.
func (b block) Decode(into any) []gateway.Problem {
	var d decoder
	d.fill(reflect.ValueOf(into).Elem(), map[string]any(b), "")
	return d.problems
}

// decoder gathers what does not fit. What it cannot fill it leaves as it was, and goes on.
type decoder struct{ problems []gateway.Problem }

func (d *decoder) wrong(path, remedy, format string, args ...any) {
	d.problems = append(d.problems, gateway.Problem{Key: path, Text: fmt.Sprintf(format, args...), Remedy: remedy})
}

// fill puts v, as the TOML decoder made it, into a field.
func (d *decoder) fill(into reflect.Value, v any, path string) {
	if into.Type() == reflect.TypeFor[time.Duration]() {
		d.fillDuration(into, v, path)
		return
	}
	if u, ok := into.Addr().Interface().(*byteSize); ok {
		if s, ok := v.(string); !ok || u.UnmarshalText([]byte(s)) != nil {
			d.wrong(path, `write it like "500kB", "100MB" or "2GB"`, "is not a size")
		}
		return
	}
	if d.fillKind(into, v, path) {
		return
	}
	remedy := ""
	if _, table := v.(map[string]any); table && into.Kind() == reflect.Slice {
		remedy = "write [[" + path + "]]"
	}
	d.wrong(path, remedy, "must be %s, not %s", describe(into.Kind()), describeValue(v))
}

// fillKind fills a field by its kind, and reports false where v is of another.
func (d *decoder) fillKind(into reflect.Value, v any, path string) bool {
	if into.Kind() == reflect.Interface {
		into.Set(reflect.ValueOf(v))
		return true
	}
	switch v := v.(type) {
	case map[string]any:
		switch into.Kind() {
		case reflect.Struct:
			d.fillStruct(into, v, path)
			return true
		case reflect.Map:
			d.fillMap(into, v, path)
			return true
		}
	case []any:
		if into.Kind() == reflect.Slice {
			list := reflect.MakeSlice(into.Type(), len(v), len(v))
			for i, e := range v {
				d.fill(list.Index(i), e, join(path, strconv.Itoa(i)))
			}
			into.Set(list)
			return true
		}
	case string:
		if into.Kind() == reflect.String {
			into.SetString(v)
			return true
		}
	case bool:
		if into.Kind() == reflect.Bool {
			into.SetBool(v)
			return true
		}
	case float64:
		if into.CanFloat() {
			into.SetFloat(v)
			return true
		}
	case int64:
		if into.CanFloat() {
			into.SetFloat(float64(v))
			return true
		}
		if into.CanInt() {
			if into.SetInt(v); into.OverflowInt(v) {
				d.wrong(path, "", "is too large a number")
			}
			return true
		}
	}
	return false
}

func (d *decoder) fillDuration(into reflect.Value, v any, path string) {
	s, _ := v.(string)
	t, err := parseDuration(s)
	if err != nil || t < 0 {
		d.wrong(path, `write it like "500ms", "10s", "5m", "24h" or "90d"`, "is not a duration")
		return
	}
	into.SetInt(int64(t))
}

// parseDuration reads what time.ParseDuration does, and days of 24 hours in front: "90d", "1d12h".
func parseDuration(s string) (time.Duration, error) {
	number, rest, found := strings.Cut(s, "d")
	if !found {
		return time.ParseDuration(s)
	}
	const most = math.MaxInt64 / int64(day)
	days, err := strconv.ParseUint(number, 10, 63)
	if err != nil || days > uint64(most)-1 {
		return 0, fmt.Errorf("%q is no number of days", number)
	}
	t := time.Duration(days) * day
	if rest == "" {
		return t, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || more >= day {
		return 0, fmt.Errorf("%q is not part of a day", rest)
	}
	return t + more, nil
}

const day = 24 * time.Hour

func (d *decoder) fillStruct(into reflect.Value, table map[string]any, path string) {
	fields := map[string]reflect.Value{}
	for i := range into.NumField() {
		if name := into.Type().Field(i).Tag.Get("toml"); name != "" {
			fields[name] = into.Field(i)
		}
	}
	known := slices.Sorted(maps.Keys(fields))
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if field, ok := fields[key]; ok {
			d.fill(field, table[key], join(path, key))
		} else {
			d.wrong(join(path, key), "the nearest known key is "+nearest(key, known), "unknown key")
		}
	}
}

func (d *decoder) fillMap(into reflect.Value, table map[string]any, path string) {
	filled := reflect.MakeMapWithSize(into.Type(), len(table))
	for _, key := range slices.Sorted(maps.Keys(table)) {
		element, before := reflect.New(into.Type().Elem()).Elem(), len(d.problems)
		d.fill(element, table[key], join(path, key))
		if len(d.problems) == before {
			filled.SetMapIndex(reflect.ValueOf(key), element)
		}
	}
	into.Set(filled)
}

// describe names a type as an admin would.
func describe(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a table"
	}
	return "a whole number"
}

func describeValue(v any) string {
	if k := reflect.TypeOf(v).Kind(); k != reflect.Struct {
		return describe(k)
	}
	return "a date" // the TOML decoder's only structs
}

// nearest returns the one of known that takes the fewest edits to get from name, quoted.
func nearest(name string, known []string) string {
	best, least := "", -1
	for _, k := range known {
		if d := distance(name, k); least < 0 || d < least {
			best, least = k, d
		}
	}
	return fmt.Sprintf("%q", best)
}

// distance counts the insertions, deletions and replacements between two strings (Levenshtein), in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
