package gateway

// limit cuts what a side left too long; see the constants in body.go and text.go. What is beyond is left out.
func (ev *Event) limit() {
	switch b := ev.Body.(type) {
	case Message:
		if len(b.Text.Marks) == 0 && len(b.Files) == 0 && b.ReplyTo.IsZero() && b.Thread.IsZero() {
			return
		}
		b.Text.limit()
		b.Files = limitFiles(b.Files)
		b.ReplyTo.Excerpt = Shorten(b.ReplyTo.Excerpt, MaxExcerpt)
		b.Thread.Excerpt = Shorten(b.Thread.Excerpt, MaxExcerpt)
		ev.Body = b
	case Edit:
		b.Text.limit()
		b.Files = limitFiles(b.Files)
		ev.Body = b
	case Retract:
		b.Reason = reason(b.Reason)
		ev.Body = b
	case Membership:
		b.Reason = reason(b.Reason)
		ev.Body = b
	}
}

func reason(s string) string { return Shorten(Clean(s), MaxReason) }

func (t *Text) limit() {
	if len(t.Marks) > MaxMarks {
		t.Marks = nil
	}
}

func limitFiles(files []File) []File {
	files = files[:min(len(files), MaxFiles)]
	for i := range files {
		f := &files[i]
		if len(f.Blurhash) > MaxBlurhash {
			f.Blurhash = ""
		}
		if len(f.Waveform) > MaxWaveform {
			f.Waveform = f.Waveform[:MaxWaveform]
		}
		if f.Thumb != nil && f.Thumb.Thumb != nil {
			thumb := *f.Thumb
			thumb.Thumb = nil
			f.Thumb = &thumb
		}
	}
	return files
}

// withoutReason takes away the words in which an act is explained: they are content.
func withoutReason(b Body) Body {
	switch b := b.(type) {
	case Retract:
		b.Reason = ""
		return b
	case Membership:
		b.Reason = ""
		return b
	}
	return b
}

// withoutAvatars takes away everybody's picture.
func (ev *Event) withoutAvatars() {
	ev.Sender.Avatar = ""
	if b, ok := ev.Body.(Membership); ok {
		b.Who.Avatar, b.By.Avatar = "", ""
		ev.Body = b
	}
}
