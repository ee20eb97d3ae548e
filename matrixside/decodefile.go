package matrixside

import (
	"encoding/base64"
	"math"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"

	"lockbridge/gateway"
)

// decodeFile reads what a content says of its file (Client-Server API, "m.image" and its like; MSC1767 and MSC3245 for
// what was spoken). network is ours: its files are fetched with our credentials.
func decodeFile(kind, network string, content fields) gateway.File {
	info := get[fields](content, "info")
	f := fileOf(network, content, "url", "file", info)
	if f.Name = fileName(get[string](content, "filename")); f.Name == "" {
		f.Name = fileName(get[string](content, "body"))
	}
	f.Duration = millis(get[float64](info, "duration"))
	for _, key := range []string{"xyz.amorgan.blurhash", "blurhash"} {
		if hash := get[string](info, key); f.Blurhash == "" && isBlurhash(hash) {
			f.Blurhash = hash
		}
	}
	f.Sticker = kind == event.EventSticker.Type
	if _, spoken := content["org.matrix.msc3245.voice"]; spoken && get[string](content, "msgtype") == string(event.MsgAudio) {
		f.Voice = true
		audio := get[fields](content, "org.matrix.msc1767.audio")
		if f.Duration == 0 {
			f.Duration = millis(get[float64](audio, "duration"))
		}
		f.Waveform = waveform(get[[]float64](audio, "waveform"))
	}
	thumb := fileOf(network, info, "thumbnail_url", "thumbnail_file", get[fields](info, "thumbnail_info"))
	if thumb.URL != "" {
		f.Thumb = &thumb
	}
	return f
}

// fileName is a name without the folders before it.
func fileName(s string) string {
	return gateway.CleanName(s[strings.LastIndexAny(s, `/\`)+1:])
}

// fileOf reads where a file is, plain or encrypted, and what it is like. One of which that cannot be told has no URL.
func fileOf(network string, content fields, plain, sealed string, info fields) gateway.File {
	f := gateway.File{
		MIME:   gateway.Shorten(gateway.CleanName(get[string](info, "mimetype")), 100),
		Size:   whole(get[float64](info, "size"), math.MaxInt64/2),
		Width:  int(whole(get[float64](info, "w"), math.MaxInt32)),
		Height: int(whole(get[float64](info, "h"), math.MaxInt32)),
	}
	if url := get[string](content, plain); mxcURL.MatchString(url) {
		f.URL, f.Network = url, network
	} else if url, cipher := decodeEncryptedFile(get[fields](content, sealed)); cipher != nil {
		f.URL, f.Network, f.Cipher = url, network, cipher
	}
	return f
}

// decodeEncryptedFile reads an EncryptedFile (Client-Server API, "Sending encrypted attachments"); no cipher: it cannot be
// opened, or not be verified.
func decodeEncryptedFile(f fields) (url string, c *gateway.Cipher) {
	key := get[fields](f, "key")
	url = get[string](f, "url")
	if get[string](f, "v") != "v2" || get[string](key, "kty") != "oct" || get[string](key, "alg") != "A256CTR" || !mxcURL.MatchString(url) {
		return "", nil
	}
	c = &gateway.Cipher{
		Name: gateway.CipherCTR256, Key: unbase64(get[string](key, "k")), IV: unbase64(get[string](f, "iv")),
		Hash: unbase64(get[string](get[fields](f, "hashes"), "sha256")),
	}
	if len(c.Key) != 32 || len(c.IV) != 16 || len(c.Hash) != 32 {
		return "", nil
	}
	return url, c
}

// unbase64 reads base64 of either alphabet, padded or not: clients differ. Nil: it is none.
func unbase64(s string) []byte {
	if len(s) > 100 {
		return nil
	}
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}

// whole is a number as an integer from 0 to most; what is none is 0.
func whole(n, most float64) int64 {
	if !(n > 0) || n > most {
		return 0
	}
	return int64(n)
}

func millis(n float64) time.Duration {
	return time.Duration(whole(n, float64(24*time.Hour/time.Millisecond))) * time.Millisecond
}

func waveform(samples []float64) (out []int) {
	for _, n := range samples[:min(len(samples), gateway.MaxWaveform)] {
		out = append(out, int(whole(min(n, 1024), 1024)))
	}
	return out
}

// isBlurhash reports whether a text can be a blurhash: characters of its base 83.
func isBlurhash(s string) bool {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
	return len(s) >= 6 && len(s) <= gateway.MaxBlurhash && strings.Trim(s, digits) == ""
}
