package httpx

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// renewalNotice is how long before its expiry a certificate becomes a problem.
const renewalNotice = 7 * 24 * time.Hour

// Certificate is the server's TLS certificate with its key. It follows the files
// that it was read from. Load it with [LoadCertificate].
type Certificate struct{ pair *reloaded[tls.Certificate] }

// LoadCertificate reads a certificate with its chain, and its key, both PEM. It
// fails if they cannot be read or do not belong together. Later changes and
// faults of the files go to the log, which may be nil.
func LoadCertificate(certFile, keyFile string, log *zap.Logger) (*Certificate, error) {
	pair := &reloaded[tls.Certificate]{
		topic: "TLS certificate",
		paths: []string{certFile, keyFile},
		parse: func(contents [][]byte) (tls.Certificate, error) {
			return tls.X509KeyPair(contents[0], contents[1]) // its errors never contain the key
		},
		inspect: checkExpiry,
		log:     log,
	}
	if err := pair.load(); err != nil {
		return nil, err
	}
	return &Certificate{pair}, nil
}

func checkExpiry(pair tls.Certificate) string {
	end := pair.Leaf.NotAfter
	switch left := time.Until(end); {
	case left <= 0:
		return fmt.Sprintf("it expired at %s, so clients refuse it: renew it", end.UTC().Format(time.RFC3339))
	case left < renewalNotice:
		return fmt.Sprintf("it expires at %s: renew it", end.UTC().Format(time.RFC3339))
	}
	return ""
}

// Run follows the files until ctx ends, and then returns nil.
func (c *Certificate) Run(ctx context.Context) error { return c.pair.Run(ctx) }

// Problem says what is wrong with the files, or that the certificate in use has
// expired or expires within 7 days. It is "" if nothing is wrong.
func (c *Certificate) Problem() string { return c.pair.Problem() }

// Config returns a server's configuration: TLS 1.2 or newer, with HTTP/2 and
// HTTP/1.1. Each new connection gets the certificate that is current then.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.pair.current.Load(), nil
		},
	}
}
