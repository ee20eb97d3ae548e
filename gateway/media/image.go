package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"lockbridge/gateway"
)

const imagePrefix = "image:"

// pictures are the media types that people's clients show, and that cannot carry a program.
var pictures = []string{"image/png", "image/jpeg", "image/gif", "image/webp"}

// Keep implements gateway.Media.
func (m *Media) Keep(ctx context.Context, image []byte) (string, error) {
	if len(image) > gateway.MaxImage {
		return "", gateway.Dropf("the picture is larger than %s", describeSize(gateway.MaxImage))
	}
	kind := http.DetectContentType(image)
	if !slices.Contains(pictures, kind) {
		return "", gateway.Dropf("the picture is of no kind that can be carried")
	}
	hash := sha256.Sum256(image)
	if err := m.shelf.PutImage(ctx, hash, kind, image); err != nil {
		return "", fmt.Errorf("keep a picture: %w", err)
	}
	return imagePrefix + hex.EncodeToString(hash[:]), nil
}

// Image implements gateway.Media.
func (m *Media) Image(ctx context.Context, ref string) ([]byte, string, error) {
	digits, ok := strings.CutPrefix(ref, imagePrefix)
	hash, err := hex.DecodeString(digits)
	if !ok || err != nil || len(hash) != sha256.Size {
		return nil, "", gateway.Dropf("there is no such picture")
	}
	data, kind, err := m.shelf.Image(ctx, [sha256.Size]byte(hash))
	if err != nil {
		return nil, "", fmt.Errorf("read a picture: %w", err)
	}
	if data == nil {
		return nil, "", gateway.Dropf("there is no such picture")
	}
	return data, kind, nil
}
