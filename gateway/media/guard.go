package media

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	maxRedirects = 3
	maxHeader    = 64 << 10 // bytes
	dialTime     = 10 * time.Second
)

// What is refused, in words for the sender. They tell nothing about what is there.
var (
	errRefused    = errors.New("it lies at an address that this gateway does not fetch from ([media] allow)")
	errRedirected = errors.New("its server sends elsewhere in a way that is not followed")
)

// guard is the only way to what strangers name. It refuses addresses of this machine and its networks, whatever name
// led there: what is judged is the address that is really dialled.
type guard struct {
	allow         []netip.Prefix // may be reached although they are private, and without TLS
	secure, plain *http.Transport
}

func newGuard(allow []netip.Prefix, authorities *x509.CertPool, resolver *net.Resolver) *guard {
	g := &guard{allow: allow}
	transport := func(judge func(netip.Addr) bool) *http.Transport {
		dialer := &net.Dialer{Timeout: dialTime, Resolver: resolver, Control: func(_, address string, _ syscall.RawConn) error {
			return judgeDial(address, judge)
		}}
		return &http.Transport{ // no Proxy: it would dial for us, unjudged
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dialTime,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeader,
			DisableKeepAlives:      true, // on idle connections strangers could go on talking
		}
	}
	g.secure = transport(func(a netip.Addr) bool { return g.allowed(a) || isPublic(a) })
	g.plain = transport(g.allowed)
	return g
}

// client follows redirects only where follow is set.
func (g *guard) client(follow bool) *http.Client {
	return &http.Client{Transport: g, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if !follow {
			return http.ErrUseLastResponse
		}
		if len(via) > maxRedirects || req.URL.Scheme != via[0].URL.Scheme {
			return errRedirected
		}
		req.Header.Del("Referer") // who knows the first URL may fetch it
		return nil
	}}
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	transport := g.secure
	switch {
	case req.URL.User != nil || req.URL.Scheme != "https" && req.URL.Scheme != "http":
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, errRefused
	case req.URL.Scheme == "http":
		transport = g.plain
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err //nolint:wrapcheck // the client wraps it
	}
	// The client would tell all of what it cannot read, and errors are logged.
	if _, err := url.Parse(resp.Header.Get("Location")); err != nil {
		resp.Body.Close()
		return nil, errRedirected
	}
	return resp, nil
}

func (g *guard) allowed(a netip.Addr) bool {
	return slices.ContainsFunc(g.allow, func(p netip.Prefix) bool { return p.Contains(a) })
}

// judgeDial refuses a connection that is about to be made.
func judgeDial(address string, judge func(netip.Addr) bool) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	port := at.Port()
	if port != 80 && port != 443 && port < 1024 || at.Addr().Zone() != "" || !judge(at.Addr().Unmap()) {
		return errRefused
	}
	return nil
}

// IPv6 addresses that hold one of IPv4: where a packet to them ends, that one says.
var (
	translated = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixToFour  = netip.MustParsePrefix("2002::/16")    // RFC 3056
	// inUse is what is given out of IPv6 (IANA, IPv6 Global Unicast Address Assignments).
	inUse = netip.MustParsePrefix("2000::/3")
)

// special are blocks inside the global ones that lead to nobody's server (IANA special-purpose address registries).
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
	"192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "3fff::/20",
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, one := range list {
		out[i] = netip.MustParsePrefix(one)
	}
	return out
}

// isPublic reports whether an address belongs to the public Internet.
func isPublic(a netip.Addr) bool {
	a = a.Unmap()
	b := a.As16()
	switch {
	case translated.Contains(a):
		return isPublic(netip.AddrFrom4([4]byte(b[12:])))
	case sixToFour.Contains(a):
		return isPublic(netip.AddrFrom4([4]byte(b[2:6])))
	case a.Is6() && !inUse.Contains(a), !a.IsGlobalUnicast(), a.IsPrivate():
		return false
	}
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}

// ParseAllow reads a network in CIDR notation ("10.0.0.5/32"), or a single address.
func ParseAllow(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is no address", s)
		}
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no network", s)
	}
	return p.Masked(), nil
}
