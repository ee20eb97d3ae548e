package matrixside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"

	"lockbridge/gateway"
)

const (
	// avatarSide is how wide and high a person's picture is asked for, in pixels.
	avatarSide = 96
	// limitTime is how long the homeserver's limit for files is believed.
	limitTime = time.Hour
)

// Files is the content repository of a homeserver (Client-Server API, "Content repository"), with the application
// service's credentials. It needs neither the network's lease nor its side: any process may fetch what Matrix has.
type Files struct {
	client *mautrix.Client
	now    func() time.Time

	mu    sync.Mutex
	limit int64
	asked time.Time
}

// NewFiles reads the registration file.
func NewFiles(cfg Config) (*Files, error) {
	reg, err := readRegistration(cfg.Registration)
	if err != nil {
		return nil, err
	}
	base, err := mautrix.ParseAndNormalizeBaseURL(cfg.Homeserver)
	if err != nil {
		return nil, fmt.Errorf("homeserver: %w", err)
	}
	return newFiles(base, reg), nil
}

func newFiles(base *url.URL, reg registration) *Files {
	transport := newTransport()
	transport.DisableCompression = true // what is asked for is the file, as large as it is
	return &Files{now: time.Now, client: &mautrix.Client{
		HomeserverURL: base,
		AccessToken:   reg.ASToken,
		UserAgent:     "lockbridge",
		// Files take as long as they take: who asks watches. A homeserver that is not asked to redirect does not, and the
		// token is for nobody else.
		Client:            &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		IgnoreRateLimit:   true,
		ResponseSizeLimit: maxResponse,
		Log:               zerolog.Nop(),
	}}
}

// errFileTooLarge is why a file is not shown on Matrix.
var errFileTooLarge = errors.New("the file is too large for the Matrix server")

// mxcURL is an mxc URL (Matrix specification, "Matrix Content (mxc://) URIs"): what it holds becomes part of a path, and
// "." and ".." would lead elsewhere in it.
var mxcURL = regexp.MustCompile(`^mxc://([A-Za-z0-9\[][A-Za-z0-9._:\[\]-]{0,254})/([A-Za-z0-9_-]{1,255})$`)

// Open fetches what an mxc URL names. The caller closes the body. It implements media.Source.
func (f *Files) Open(ctx context.Context, mxc string) (body io.ReadCloser, size int64, err error) {
	resp, err := f.get(ctx, "download", mxc, nil)
	if err != nil {
		return nil, 0, err
	}
	return resp.Body, resp.ContentLength, nil
}

// Avatar fetches a picture of somebody, made small by the homeserver: at most gateway.MaxImage bytes.
func (f *Files) Avatar(ctx context.Context, mxc string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	side := strconv.Itoa(avatarSide)
	resp, err := f.get(ctx, "thumbnail", mxc, map[string]string{"width": side, "height": side, "method": "crop"})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	image, err := io.ReadAll(io.LimitReader(resp.Body, gateway.MaxImage+1))
	if err != nil {
		return nil, fmt.Errorf("fetch a picture: %w", plainly(err))
	}
	if len(image) > gateway.MaxImage {
		return nil, gateway.Dropf("the picture is too large")
	}
	return image, nil
}

// get asks for content with our token (Matrix 1.11), and where the homeserver does not know that, without.
func (f *Files) get(ctx context.Context, kind, mxc string, query map[string]string) (*http.Response, error) {
	name := mxcURL.FindStringSubmatch(mxc)
	if name == nil {
		return nil, gateway.Dropf("nothing is called so on Matrix")
	}
	ask := func(url string) (*http.Response, error) {
		_, resp, err := f.client.MakeFullRequestWithResp(ctx, mautrix.FullRequest{Method: http.MethodGet, URL: url, DontReadResponse: true})
		return resp, err
	}
	resp, err := ask(f.client.BuildURLWithQuery(mautrix.ClientURLPath{"v1", "media", kind, name[1], name[2]}, query))
	if status(err) == http.StatusNotFound && errors.Is(err, mautrix.MUnrecognized) {
		older := map[string]string{"allow_redirect": "false"}
		for k, v := range query {
			older[k] = v
		}
		resp, err = ask(f.client.BuildURLWithQuery(mautrix.MediaURLPath{"v3", kind, name[1], name[2]}, older))
	}
	if err != nil {
		return nil, aboutContent(err)
	}
	return resp, nil
}

// aboutContent is what a failed request for content means. The request's URL stays out of it.
func aboutContent(err error) error {
	switch code := status(err); {
	case code == http.StatusTooManyRequests:
		return gateway.Later(retryAfter(err), errors.New("the homeserver limits how much is fetched"))
	case isUnknown(err):
		return gateway.Later(unknownPause, errors.New("the homeserver does not know the registration"))
	case code == 0:
		return plainly(err)
	case code >= 500:
		return fmt.Errorf("the homeserver answers with status %d", code)
	}
	return gateway.Dropf("the Matrix server does not give the file out")
}

// Upload gives the homeserver size bytes of body, and returns the URL under which it has them. Of its errors
// gateway.Plainer means that they are too many; for the others see instruction.
func (f *Files) Upload(ctx context.Context, body io.Reader, size int64, mime, name string) (mxc string, err error) {
	if limit, err := f.Limit(ctx); err == nil && limit > 0 && size > limit {
		return "", gateway.Plainer(errFileTooLarge)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(requestTimeout, func() { cancel(errStalled) })
	defer stalled.Stop()
	req := mautrix.ReqUploadMedia{Content: taken{body, stalled}, ContentLength: size, ContentType: mime, FileName: name}
	if size == 0 {
		req.Content, req.ContentBytes = nil, []byte{}
	}
	resp, err := f.client.UploadMedia(ctx, req)
	switch {
	case status(err) == http.StatusRequestEntityTooLarge:
		return "", gateway.Plainer(errFileTooLarge)
	case err != nil && errors.Is(context.Cause(ctx), errStalled):
		return "", errStalled
	case err != nil:
		return "", fmt.Errorf("upload a file: %w", err)
	case mxcURL.FindStringSubmatch(resp.ContentURI.String()) == nil:
		return "", errors.New("upload a file: the homeserver does not say where it is")
	}
	return resp.ContentURI.String(), nil
}

// errStalled: of an upload nothing was taken for too long, or it was not answered.
var errStalled = errors.New("the homeserver does not take a file")

// taken is a body that somebody reads, each time in good time.
type taken struct {
	io.Reader
	stalled *time.Timer
}

// Read implements io.Reader.
func (r taken) Read(p []byte) (int, error) {
	r.stalled.Reset(requestTimeout)
	return r.Reader.Read(p) //nolint:wrapcheck // io.EOF must stay what it is
}

// Limit is the largest file that the homeserver takes, in bytes; 0: it does not say. It is asked once an hour.
func (f *Files) Limit(ctx context.Context) (int64, error) {
	limit, fresh := f.known()
	if fresh {
		return limit, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := f.client.GetMediaConfig(ctx)
	switch {
	case err == nil:
		limit = resp.UploadSize
	case status(err) == http.StatusNotFound:
		limit = 0
	default:
		return limit, aboutContent(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit, f.asked = limit, f.now()
	return limit, nil
}

// known is the limit as far as it is known, without asking.
func (f *Files) known() (limit int64, fresh bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.limit, !f.asked.IsZero() && f.now().Sub(f.asked) < limitTime
}
