package matrixside

import (
	"cmp"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"

	"lockbridge/gateway"
)

// attachment is what a content says of its file (Client-Server API, "m.image" and its like; MSC1767 and MSC3245 for what
// was spoken).
type attachment struct {
	FileName string    `json:"filename,omitempty"`
	URL      string    `json:"url,omitempty"`
	Info     *fileInfo `json:"info,omitempty"`
	Audio    *playInfo `json:"org.matrix.msc1767.audio,omitempty"`
	Voice    *struct{} `json:"org.matrix.msc3245.voice,omitempty"`
}

type fileInfo struct {
	MIME      string    `json:"mimetype,omitempty"`
	Size      int64     `json:"size,omitempty"`
	Width     int       `json:"w,omitempty"`
	Height    int       `json:"h,omitempty"`
	Duration  int64     `json:"duration,omitempty"` // ms
	ThumbURL  string    `json:"thumbnail_url,omitempty"`
	ThumbInfo *fileInfo `json:"thumbnail_info,omitempty"`
	Blurhash  string    `json:"xyz.amorgan.blurhash,omitempty"`
}

type playInfo struct {
	Duration int64 `json:"duration,omitempty"` // ms
	Waveform []int `json:"waveform,omitempty"` // 0 to 1024
}

// uploaded is a file that the homeserver has.
type uploaded struct {
	gateway.File
	url   string
	thumb string // "": it has none
}

// file is the event of one file.
func (e encoder) file(f uploaded, speaker string) piece {
	name := cmp.Or(gateway.CleanName(f.Name), "file")
	c := content{Body: name, Mentions: &event.Mentions{}}
	c.URL, c.Info = f.url, infoOf(f.File)
	c.Info.Duration = int64(f.Duration / time.Millisecond)
	c.Info.Blurhash = f.Blurhash
	if f.thumb != "" && f.Thumb != nil {
		c.Info.ThumbURL, c.Info.ThumbInfo = f.thumb, infoOf(*f.Thumb)
	}
	if f.Sticker && speaker == "" { // a sticker has no words to say whose it is
		return piece{kind: event.EventSticker, content: c}
	}
	c.MsgType, c.FileName = kindOf(f.MIME), name
	if speaker != "" {
		c.Body = "<" + speaker + "> " + name
	}
	if f.Voice {
		c.MsgType, c.Voice = event.MsgAudio, &struct{}{}
		c.Audio = &playInfo{Duration: c.Info.Duration, Waveform: f.Waveform}
	}
	return piece{kind: event.EventMessage, content: c}
}

func infoOf(f gateway.File) *fileInfo {
	return &fileInfo{MIME: f.MIME, Size: f.Size, Width: f.Width, Height: f.Height}
}

// kindOf is how a file of a media type is shown. Pictures that are programs are files to be opened with care.
func kindOf(mime string) event.MessageType {
	major, minor, _ := strings.Cut(mime, "/")
	switch {
	case major == "image" && !strings.HasPrefix(minor, "svg"):
		return event.MsgImage
	case major == "video":
		return event.MsgVideo
	case major == "audio":
		return event.MsgAudio
	}
	return event.MsgFile
}
