package matrixside

import (
	"html"
	"slices"
	"strconv"
	"strings"

	"lockbridge/gateway"
)

// render writes a text as a body and, where that says less than the text, as HTML (Client-Server API, "m.room.message
// msgtypes", org.matrix.custom.html).
func (e encoder) render(t gateway.Text) (body, formatted string) {
	t.Plain = gateway.Clean(t.Plain)
	t = t.Normal()
	t.Marks = slices.DeleteFunc(slices.Clone(t.Marks), func(m gateway.Mark) bool {
		return m.Style == gateway.MarkMention && e.pill(m.Who) == ""
	})
	if len(t.Marks) == 0 {
		return t.Plain, ""
	}
	w := htmlWriter{encoder: e}
	for _, p := range t.Paragraphs() {
		w.paragraph(p)
	}
	w.close(0)
	return t.Flat(), w.String()
}

// htmlWriter writes paragraphs.
type htmlWriter struct {
	strings.Builder
	encoder
	open []string // the blocks around what comes next: quotes, and a list within them
	next int      // the number of the open list's next item
}

func (w *htmlWriter) close(n int) {
	for len(w.open) > n {
		w.WriteString("</" + w.open[len(w.open)-1] + ">")
		w.open = w.open[:len(w.open)-1]
	}
}

func (w *htmlWriter) start(tag, attributes string) {
	w.WriteString("<" + tag + attributes + ">")
	w.open = append(w.open, tag)
}

func (w *htmlWriter) paragraph(p gateway.Paragraph) {
	list, number := "", 0
	if p.Kind == gateway.MarkItem {
		list = "ul"
		if n, err := strconv.Atoi(p.Arg); err == nil {
			list, number = "ol", n
		}
	}
	n := len(w.open)
	goesOn := list != "" && n == p.Depth+1 && w.open[n-1] == list && (list == "ul" || number == w.next)
	if !goesOn {
		if n > 0 && w.open[n-1] != "blockquote" { // another list
			w.close(n - 1)
		}
		w.close(p.Depth)
	}
	for len(w.open) < p.Depth {
		w.start("blockquote", "")
	}
	switch {
	case p.Kind == gateway.MarkBlock:
		class := ""
		if p.Arg != "" {
			class = ` class="language-` + html.EscapeString(p.Arg) + `"`
		}
		w.WriteString("<pre><code" + class + ">" + html.EscapeString(p.Text.Plain) + "\n</code></pre>")
	case list != "":
		if len(w.open) == p.Depth {
			from := ""
			if list == "ol" && number != 1 {
				from = ` start="` + strconv.Itoa(number) + `"`
			}
			w.start(list, from)
		}
		w.next = number + 1
		w.WriteString("<li>")
		w.lines(p.Text)
		w.WriteString("</li>")
	default:
		w.lines(p.Text)
	}
}

// lines writes what stands in one paragraph.
func (w *htmlWriter) lines(t gateway.Text) {
	var open []string // the tags around what comes next, with their attributes
	end := func(n int) {
		for len(open) > n {
			tag, _, _ := strings.Cut(open[len(open)-1], " ")
			w.WriteString("</" + tag + ">")
			open = open[:len(open)-1]
		}
	}
	for _, run := range t.Runs() {
		want := w.tags(run)
		same := 0
		for same < min(len(open), len(want)) && open[same] == want[same] {
			same++
		}
		end(same)
		for _, tag := range want[same:] {
			w.WriteString("<" + tag + ">")
			open = append(open, tag)
		}
		w.WriteString(strings.ReplaceAll(html.EscapeString(run.Text), "\n", "<br>"))
		if !run.Who.IsZero() { // a name is a pill of its own
			end(len(want) - 1)
		}
	}
	end(0)
	if t.Plain == "" || strings.HasSuffix(t.Plain, "\n") { // a break ends a line; an empty one has nothing else
		w.WriteString("<br>")
	}
}

// tags are those around a run, from the outside.
func (w *htmlWriter) tags(run gateway.Run) (tags []string) {
	if run.Styles.Has(gateway.Hidden) {
		tag := "span data-mx-spoiler"
		if run.Spoiler != "" {
			tag += `="` + html.EscapeString(run.Spoiler) + `"`
		}
		tags = append(tags, tag)
	}
	if run.Link != "" {
		tags = append(tags, `a href="`+html.EscapeString(run.Link)+`"`)
	}
	for _, style := range []struct {
		has gateway.StyleSet
		tag string
	}{{gateway.Bold, "strong"}, {gateway.Italic, "em"}, {gateway.Underline, "u"}, {gateway.Strike, "del"}, {gateway.Code, "code"}} {
		if run.Styles.Has(style.has) {
			tags = append(tags, style.tag)
		}
	}
	if !run.Who.IsZero() { // innermost: of what stands in a pill, readers take the name alone
		tags = append(tags, `a href="`+html.EscapeString(w.pill(run.Who).URI().MatrixToURL())+`"`)
	}
	return tags
}
