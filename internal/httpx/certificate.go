package httpx

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// renewalNotice is how long before a certificate ends it is a problem.
const renewalNotice = 7 * 24 * time.Hour

// Certificate is what the server shows on TLS connections, with its key, from
// files that may change. Load it with [LoadCertificate].
type Certificate struct{ pair *reloaded[tls.Certificate] }

// LoadCertificate reads a certificate with its chain, and its key, both PEM. It
// fails if they cannot be read or do not belong together. The log, which may be
// nil, gets what becomes of them later.
func LoadCertificate(certFile, keyFile string, log *zap.Logger) (*Certificate, error) {
	pair := &reloaded[tls.Certificate]{
		topic: "TLS certificate",
		paths: []string{certFile, keyFile},
		parse: func(contents [][]byte) (tls.Certificate, error) {
			return tls.X509KeyPair(contents[0], contents[1]) // its errors hold nothing of the key
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
		return fmt.Sprintf("it ended at %s, and clients refuse it: renew it", end.UTC().Format(time.RFC3339))
	case left < renewalNotice:
		return fmt.Sprintf("it ends at %s: renew it", end.UTC().Format(time.RFC3339))
	}
	return ""
}

// Run follows the files until ctx ends, and then returns nil.
func (c *Certificate) Run(ctx context.Context) error { return c.pair.Run(ctx) }

// Problem says what is wrong with the files, or that the certificate in use ends
// within 7 days; "" for nothing.
func (c *Certificate) Problem() string { return c.pair.Problem() }

// Config is for a server: TLS 1.2 or newer, HTTP/2 and HTTP/1.1, and for each
// connection the certificate as it is then.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.pair.current.Load(), nil
		},
	}
}
