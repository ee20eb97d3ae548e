package matrixside

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"maunium.net/go/mautrix"

	"lockbridge/gateway"
)

const (
	maxRetryAfter = 10 * time.Minute
	// limitPause is how long a rate limit lasts that does not say how long.
	limitPause = 5 * time.Second
	// unknownPause is how long a lane waits where the homeserver does not know our registration.
	unknownPause = 15 * time.Second
	// fullPause is how long a lane waits where the homeserver has reached a limit of its own.
	fullPause = 5 * time.Minute
)

// status is the HTTP status that an error carries; 0 means that no answer came.
func status(err error) int {
	var httpErr mautrix.HTTPError
	if errors.As(err, &httpErr) && httpErr.Response != nil {
		return httpErr.Response.StatusCode
	}
	return 0
}

// isForbidden reports a refusal, whatever its errcode: Synapse answers M_BAD_STATE to one who is banned.
func isForbidden(err error) bool { return status(err) == http.StatusForbidden }

// isRefusal reports a refusal that is about the room and not about what was said: it is shut to us, or gone.
func isRefusal(err error) bool {
	return (isForbidden(err) || status(err) == http.StatusNotFound) && errcode(err) != "" && !isAboutUser(err) && !isFull(err)
}

// errcode is the Matrix error code of an answer; empty for what another program, a proxy say, answered.
func errcode(err error) string {
	var known mautrix.RespError
	if !errors.As(err, &known) {
		return ""
	}
	return known.ErrCode
}

// isUnknown reports that the homeserver does not know our token: the registration was taken out, or changed.
func isUnknown(err error) bool {
	return errors.Is(err, mautrix.MUnknownToken) || errors.Is(err, mautrix.MMissingToken)
}

// isAboutUser reports that an admin of the homeserver has shut one user out.
func isAboutUser(err error) bool {
	switch errcode(err) {
	case "M_USER_DEACTIVATED", "M_USER_SUSPENDED", "M_USER_LOCKED":
		return true
	}
	return false
}

// isFull reports that the homeserver takes no more, for a reason of its own.
func isFull(err error) bool { return errcode(err) == "M_RESOURCE_LIMIT_EXCEEDED" }

// isAway reports that no answer came: the homeserver is not there, or something on the way to it.
func isAway(err error) bool {
	var urlErr *url.Error
	return errors.As(err, &urlErr) && status(err) == 0
}

// neverLeft reports that a request did not get as far as the homeserver.
func neverLeft(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// plainly is err as an operator reads it: without the URL, which is long and says nothing.
func plainly(err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		return fmt.Errorf("the homeserver does not answer: %w", urlErr.Err)
	}
	return err
}

// instruction turns a failed request into what the gateway should do about its delivery.
func instruction(err error) error {
	_, later := gateway.LaterThan(err)
	code := status(err)
	switch {
	case gateway.IsDrop(err), gateway.IsPlainer(err), later:
		return err
	case code == http.StatusTooManyRequests || errors.Is(err, mautrix.MLimitExceeded):
		return gateway.Later(retryAfter(err), fmt.Errorf("the homeserver limits how much is sent: %w", err))
	case code == http.StatusRequestEntityTooLarge || errors.Is(err, mautrix.MTooLarge):
		return errTooLarge
	case isUnknown(err):
		return gateway.Later(unknownPause, fmt.Errorf("the homeserver does not know the registration: %w", err))
	case isAboutUser(err):
		return gateway.Dropf("the Matrix server has shut out the user who speaks for you")
	case isFull(err):
		return gateway.Later(fullPause, err)
	case isForbidden(err) && errcode(err) != "":
		return gateway.Dropf("the Matrix room does not let you speak")
	case (code == http.StatusBadRequest || code == http.StatusUnprocessableEntity) && errcode(err) != "":
		return gateway.Dropf("the Matrix server refuses the message (%s)", gateway.CleanName(errcode(err)))
	case neverLeft(err):
		return gateway.Later(time.Second, plainly(err))
	}
	return plainly(err)
}

// retryAfter is how long a rate limit asks us to wait: in the body, or in the header since Matrix 1.10.
func retryAfter(err error) time.Duration {
	var known mautrix.RespError
	errors.As(err, &known)
	if ms, ok := known.ExtraData["retry_after_ms"].(float64); ok && ms > 0 && ms < float64(maxRetryAfter.Milliseconds()) {
		return time.Duration(ms) * time.Millisecond
	}
	var httpErr mautrix.HTTPError
	if errors.As(err, &httpErr) && httpErr.Response != nil {
		if n, err := strconv.Atoi(httpErr.Response.Header.Get("Retry-After")); err == nil && n > 0 {
			return time.Duration(min(n, int(maxRetryAfter.Seconds()))) * time.Second
		}
	}
	return limitPause
}
