package ircside

import (
	"strings"
	"unicode/utf8"

	"lockbridge/gateway"
)

// The formatting codes of IRC clients (modern.ircdocs.horse/formatting). All but the colours switch a style on, and off
// again.
const (
	codeBold      = 0x02
	codeColor     = 0x03 // with up to two digits, and again after a comma
	codeHexColor  = 0x04 // with six hex digits, and again after a comma
	codeReset     = 0x0f
	codeMono      = 0x11
	codeReverse   = 0x16
	codeItalic    = 0x1d
	codeStrike    = 0x1e
	codeUnderline = 0x1f

	formatCodes = "\x02\x03\x04\x0f\x11\x16\x1d\x1e\x1f"
	// hiddenCode is black on black, which readers uncover by selecting it. With two digits each it takes none of the text.
	hiddenCode = "\x0301,01"
)

// codes are what we write of styles, in this order.
var codes = [...]struct {
	style gateway.StyleSet
	mark  string
	code  byte
}{
	{gateway.Bold, gateway.MarkBold, codeBold}, {gateway.Italic, gateway.MarkItalic, codeItalic}, {gateway.Underline, gateway.MarkUnderline, codeUnderline},
	{gateway.Strike, gateway.MarkStrike, codeStrike}, {gateway.Code, gateway.MarkCode, codeMono}, {gateway.Hidden, gateway.MarkSpoiler, 0},
}

// piece is a part of a line that looks the same from end to end.
type piece struct {
	text   string
	styles gateway.StyleSet
}

// readFormat reads a line with its formatting codes. Colours count for nothing, except where foreground and background
// are the same: that is how a spoiler is written. Codes are ASCII and stand between bytes of any charset, also inside a
// UTF-8 sequence, so they go first.
func readFormat(s string) gateway.Text {
	if !strings.Contains(s, "\n") {
		return readLine(s)
	}
	var plain strings.Builder // of a multiline batch: each line begins without any style
	var marks []gateway.Mark
	for i, l := range strings.Split(s, "\n") {
		if i > 0 {
			plain.WriteByte('\n')
		}
		line := readLine(l)
		for _, m := range line.Marks {
			m.Start, m.End = m.Start+plain.Len(), m.End+plain.Len()
			marks = append(marks, m)
		}
		plain.WriteString(line.Plain)
	}
	return gateway.Text{Plain: strings.TrimRight(plain.String(), "\n"), Marks: marks}.Normal()
}

func readLine(s string) gateway.Text {
	bare := func(s string) gateway.Text {
		return gateway.Text{Plain: strings.TrimRight(gateway.Clean(toUTF8(s)), " \t\n")}
	}
	if !strings.ContainsAny(s, formatCodes) {
		return bare(s)
	}
	pieces, all := readCodes(s), stripFormat(s)
	out := bare(all)
	if len(pieces) > gateway.MaxMarks {
		return out
	}
	places := placesIn(all)
	at := 0
	open := map[gateway.StyleSet]int{} // where each style begins, plus one
	for _, p := range append(pieces, piece{}) {
		place := places(at)
		for _, c := range codes {
			switch has := p.styles.Has(c.style); {
			case has && open[c.style] == 0:
				open[c.style] = place + 1
			case !has && open[c.style] > 0:
				out.Marks = append(out.Marks, gateway.Mark{Start: open[c.style] - 1, End: place, Style: c.mark})
				open[c.style] = 0
			}
		}
		at += len(p.text)
	}
	return out.Normal()
}

// placesIn tells where bytes of a line stand once the line is clean UTF-8. They are asked for from left to right.
func placesIn(line string) func(at int) int {
	if !utf8.ValidString(line) {
		seen, n := 0, 0
		return func(at int) int {
			for ; seen < at; seen++ {
				n += len(gateway.Clean(string(windows1252(line[seen]))))
			}
			return n
		}
	}
	return func(at int) int {
		for at > 0 && at < len(line) && !utf8.RuneStart(line[at]) {
			at--
		}
		return len(gateway.Clean(line[:at]))
	}
}

// readCodes splits a line at its formatting codes.
func readCodes(s string) []piece {
	var out []piece
	var styles gateway.StyleSet
	front, back := "", "" // colours; "": the usual one
	for s != "" {
		end := strings.IndexAny(s, formatCodes)
		if end < 0 {
			end = len(s)
		}
		if end > 0 {
			now := styles
			if front != "" && front == back {
				now |= gateway.Hidden
			}
			if n := len(out) - 1; n >= 0 && out[n].styles == now {
				out[n].text += s[:end]
			} else {
				out = append(out, piece{s[:end], now})
			}
			s = s[end:]
			continue
		}
		code := s[0]
		s = s[1:]
		switch code {
		case codeReset:
			styles, front, back = 0, "", ""
		case codeColor:
			n := colorLen(s, 1, 2, isDigit)
			front, back = colors(s[:n], back)
			s = s[n:]
		case codeHexColor:
			n := colorLen(s, 6, 6, isHex)
			front, back = colors(s[:n], back)
			s = s[n:]
		default:
			for _, c := range codes {
				if c.code == code {
					styles ^= c.style
				}
			}
		}
	}
	return out
}

// colors are the colours after a code: without arguments the usual ones, without a background the same as before.
func colors(args, before string) (front, back string) {
	if args == "" {
		return "", ""
	}
	front, behind, both := strings.Cut(strings.ToLower(args), ",")
	if back = before; both {
		back = plainColor(behind)
	}
	return plainColor(front), back
}

// plainColor is a colour as it is compared: 99 is the usual one, and "1" is "01".
func plainColor(c string) string {
	if len(c) == 1 {
		c = "0" + c
	}
	if c == "99" {
		return ""
	}
	return c
}

// stripFormat takes formatting codes out of a line.
func stripFormat(s string) string {
	if !strings.ContainsAny(s, formatCodes) {
		return s
	}
	var b strings.Builder
	for _, p := range readCodes(s) {
		b.WriteString(p.text)
	}
	return b.String()
}

// colorLen returns how many bytes of s are a colour code's arguments: a foreground, and a background after a comma. A
// comma that no colour follows is text.
func colorLen(s string, least, most int, is func(byte) bool) int {
	run := func(s string) int {
		n := 0
		for n < len(s) && n < most && is(s[n]) {
			n++
		}
		if n < least {
			return 0
		}
		return n
	}
	n := run(s)
	if n > 0 && n < len(s) && s[n] == ',' {
		if back := run(s[n+1:]); back > 0 {
			n += 1 + back
		}
	}
	return n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isHex(c byte) bool   { return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

// row is one line of a text, with how it looks, before it is cut to what fits on the wire.
type row struct {
	plain  string
	pieces []piece // none: it has no styles
}

// rows are the lines of a text. What IRC has no code for stands in the text as people write it; mentions are written as
// called says.
func rows(t gateway.Text, called func(who gateway.Person, text string) string) []row {
	if plain := gateway.Clean(t.Plain); plain != t.Plain {
		t = gateway.Text{Plain: plain}
	}
	if len(t.Marks) == 0 {
		return plainRows(t.Plain)
	}
	var out []row
	hidden := false
	for _, p := range t.Without(gateway.MarkQuote, gateway.MarkItem, gateway.MarkLink).Paragraphs() {
		now := row{}
		if p.Kind == gateway.MarkBlock {
			for line := range strings.SplitSeq(p.Text.Plain, "\n") {
				out = append(out, row{line, []piece{{line, gateway.Code}}})
			}
			continue
		}
		for _, run := range p.Text.Runs() {
			text := run.Text
			if !run.Who.IsZero() {
				text = called(run.Who, text)
			}
			if strings.TrimSpace(text) != "" {
				if was := hidden; !was && run.Styles.Has(gateway.Hidden) && run.Spoiler != "" {
					now.add("(spoiler: "+run.Spoiler+") ", 0)
				}
				hidden = run.Styles.Has(gateway.Hidden)
			}
			for i, line := range strings.Split(text, "\n") {
				if i > 0 {
					out, now = append(out, now), row{}
				}
				now.add(line, run.Styles)
			}
		}
		out = append(out, now)
	}
	return out
}

// plainRows are the lines of a text without marks.
func plainRows(s string) []row {
	var out []row
	for line := range strings.SplitSeq(s, "\n") {
		out = append(out, row{plain: line})
	}
	return out
}

func (r *row) add(text string, styles gateway.StyleSet) {
	if text != "" {
		r.plain += text
		r.pieces = append(r.pieces, piece{text, styles})
	}
}

// cut splits off what fits into room bytes with its codes, as it is written, and returns the rest.
func (r row) cut(room int) (head string, rest row) {
	if r.pieces == nil {
		head, rest.plain = cutLine(r.plain, room)
		return head, rest
	}
	for size := room; ; {
		plain, after := cutLine(r.plain, size)
		head = r.first(len(plain)).coded()
		over := len(head) - room
		if over <= 0 {
			return head, r.after(len(r.plain) - len(after))
		}
		if size -= over; size < minRoom/2 { // more codes than text
			plain, after = cutLine(r.plain, room-len(hiddenCode)-1)
			return r.first(len(plain)).dull().coded(), r.after(len(r.plain) - len(after))
		}
	}
}

// first are the first n bytes of a row, and after is what follows them.
func (r row) first(n int) row {
	out := row{plain: r.plain[:n]}
	for _, p := range r.pieces {
		if n <= 0 {
			break
		}
		p.text = p.text[:min(n, len(p.text))]
		n -= len(p.text)
		out.pieces = append(out.pieces, p)
	}
	return out
}

func (r row) after(n int) row {
	out := row{plain: r.plain[n:]}
	for _, p := range r.pieces {
		skip := min(n, len(p.text))
		n -= skip
		if p.text = p.text[skip:]; p.text != "" {
			out.pieces = append(out.pieces, p)
		}
	}
	return out
}

// dull is a row in one style: hidden, if anything in it is.
func (r row) dull() row {
	var all gateway.StyleSet
	for _, p := range r.pieces {
		all |= p.styles & gateway.Hidden
	}
	return row{r.plain, []piece{{r.plain, all}}}
}

// coded writes a row with its codes. A colour ends with all styles, which then begin anew: the code that ends a colour
// alone would take a digit behind it for another one.
func (r row) coded() string {
	var b strings.Builder
	var now gateway.StyleSet
	for _, p := range r.pieces {
		if now.Has(gateway.Hidden) && !p.styles.Has(gateway.Hidden) {
			b.WriteByte(codeReset)
			now = 0
		}
		for _, c := range codes {
			switch {
			case now.Has(c.style) == p.styles.Has(c.style):
			case c.style == gateway.Hidden:
				b.WriteString(hiddenCode)
			default:
				b.WriteByte(c.code)
			}
		}
		now = p.styles
		b.WriteString(p.text)
	}
	if now != 0 {
		b.WriteByte(codeReset)
	}
	return b.String()
}
