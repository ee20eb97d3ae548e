package media

import (
	"context"
	"io"
	"time"

	"lockbridge/gateway"
)

// Shelf keeps what lies behind links, and pictures. The store implements it; data is sealed at rest there.
type Shelf interface {
	// PutLink keeps data under id until a time, or until one of events is retracted or forgotten. Where the
	// id is taken nothing changes. It returns when what is kept under id ends; the zero time where one of events is
	// retracted already, and nothing is kept.
	PutLink(ctx context.Context, id [8]byte, events []gateway.ID, data []byte, until time.Time) (time.Time, error)
	// Link returns what PutLink kept, and until when; nil where there is nothing, or no longer.
	Link(ctx context.Context, id [8]byte) (data []byte, until time.Time, err error)
	// PutImage keeps a picture under its SHA-256 for as long as it is used now and then.
	PutImage(ctx context.Context, hash [32]byte, mime string, data []byte) error
	// Image returns what PutImage kept, and notes that it is used; nil where there is nothing.
	Image(ctx context.Context, hash [32]byte) (data []byte, mime string, err error)
}

// Source fetches what only one network can, with credentials of ours (Matrix content).
type Source interface {
	// Open asks for what a URL of the network names. The body's bytes may be fewer or more than size says; -1 means that
	// it is not known. A Drop says that no retry will help.
	Open(ctx context.Context, url string) (body io.ReadCloser, size int64, err error)
}
