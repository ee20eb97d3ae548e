package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"lockbridge/gateway"
)

var (
	errUploadSlow = errors.New("uploading the file takes too long")
	errUploadIdle = errors.New("the upload's server does not take the file")
)

// Put implements gateway.Media. A Drop means that the server takes the file from nobody, or not of this size.
func (m *Media) Put(ctx context.Context, to string, header http.Header, body io.Reader, size int64) error {
	u, err := url.Parse(to)
	if err != nil || u.Host == "" {
		return gateway.Dropf("the file cannot be uploaded: its place has no address")
	}
	leave, err := m.gate.enter(ctx, "put\x00"+u.Host)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(m.whole, func() { cancel(errUploadSlow) }).Stop()
	idle := time.AfterFunc(m.idle, func() { cancel(errUploadIdle) })
	defer idle.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), watched{body, idle, m.idle})
	if err != nil {
		return gateway.Dropf("the file cannot be uploaded: its place has no address")
	}
	if header != nil {
		req.Header = header.Clone()
	}
	req.Header.Set("User-Agent", userAgent)
	if req.ContentLength = size; size == 0 {
		req.Body = http.NoBody // a length of 0 means unknown otherwise
	}
	resp, err := m.guard.client(false).Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return withoutURL(refusal(err))
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusOK || code == http.StatusCreated || code == http.StatusNoContent:
		return nil
	case code == http.StatusTooManyRequests || code >= 500:
		return fmt.Errorf("the upload's server answers with status %d", code)
	default:
		return gateway.Dropf("the upload's server refuses the file (status %d)", code)
	}
}
