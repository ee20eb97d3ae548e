package gateway

import (
	"context"
	"io"
	"net/http"
)

// ImageRef is how references to kept pictures begin; see Media.Keep.
const ImageRef = "image:"

// MaxImage is the largest picture of a person or a room that is kept, in bytes.
const MaxImage = 256 << 10

// Media fetches files, hands their bytes on, and makes links for rooms without files. Package gateway/media implements
// it. Of addresses that others name it fetches only those that the config allows; what it holds on disk is ciphertext.
//
// All of it does I/O, some of it in the database: never call it inside a transaction (Arrival.Read, State.Update). An
// error that no retry can mend is a Drop whose text the sender may read; any other may pass.
type Media interface {
	// Fetch gets a file whole: its size is within the limit, and where it is encrypted its tag or hash was right. A
	// repetition within some minutes fetches nothing again. The caller closes the Blob.
	Fetch(ctx context.Context, f File) (Blob, error)
	// Put uploads size bytes of body to a URL that the network gave for that, with its headers (XEP-0363).
	Put(ctx context.Context, url string, header http.Header, body io.Reader, size int64) error
	// Link returns a URL under which people find the file for a while; "" if there is none to be had. A repetition of the
	// same origin gives the same URL. A file that is Public is its own link.
	Link(ctx context.Context, of Origin, f File) (string, error)
	// Paste returns a URL under which people find a text that is too long for their network, as Link does. Name is the
	// file's name in it. The text rests sealed in the database until the link expires.
	Paste(ctx context.Context, of Origin, name, text string) (string, error)
	// Keep stores a picture of at most MaxImage bytes and returns what Person.Avatar and RoomState.Avatar hold of it:
	// "image:" and the SHA-256 of image in lower-case hex. It is a Drop unless the bytes are PNG, JPEG, GIF or WebP.
	Keep(ctx context.Context, image []byte) (ref string, err error)
	// Image returns what Keep stored, with its media type. It is a Drop where nothing is stored under ref, or no longer.
	Image(ctx context.Context, ref string) (data []byte, mime string, err error)
}

// Origin says what a link is made for.
type Origin struct {
	// Key tells links apart: Delivery.Key, "/" and a number.
	Key string
	// Events are those whose words or files lie behind the link. It is dead as soon as any of them is retracted.
	Events []ID
}

// Blob is a file that was fetched. It may be read as often as needed, by one reader at a time.
type Blob interface {
	// Size is how many bytes the file has, before encryption.
	Size() int64
	// MIME is the media type: the sender's word unless the content contradicts it.
	MIME() string
	// Open returns the file's bytes and how many they are. With seal they are encrypted by the Key and IV in it, which the
	// caller has drawn and uses for this file alone; seal.Hash is filled in when body has been read to its end.
	Open(ctx context.Context, seal *Cipher) (body io.ReadCloser, size int64, err error)
	// Close lets go of it.
	Close() error
}
