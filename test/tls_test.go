package test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
	"platform-settings/test/selfsigned"
)

func TestAPodServesHTTPSAndItsCertificateChangesWithoutARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	roots := x509.NewCertPool()
	renew := func() {
		t.Helper()
		cert, key := selfsigned.Pair(t, time.Now().AddDate(1, 0, 0))
		roots.AppendCertsFromPEM(cert)
		for path, content := range map[string][]byte{certFile: cert, keyFile: key} {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	renew()
	p := pod.Start(t, pgtest.Database(t), "TLS_CERT_FILE="+certFile, "TLS_KEY_FILE="+keyFile)
	p.AwaitLog(`"msg":"serving"`)

	// ask sends a request on a new connection.
	ask := func(most uint16, protocols ...string) (*http.Response, error) {
		t.Helper()
		client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true, ForceAttemptHTTP2: len(protocols) == 0,
			TLSClientConfig: &tls.Config{RootCAs: roots, NextProtos: protocols, MinVersion: tls.VersionTLS10, MaxVersion: most},
		}}
		response, err := client.Get("https://" + p.Addr() + "/livez")
		if err == nil {
			_ = response.Body.Close()
		}
		return response, err
	}
	first, err := ask(tls.VersionTLS13)
	if err != nil || first.StatusCode != 200 || first.ProtoMajor != 2 {
		t.Fatalf("HTTP/2: %v, %v", first, err)
	}
	if a, err := ask(tls.VersionTLS12, "http/1.1"); err != nil || a.StatusCode != 200 || a.ProtoMajor != 1 || a.TLS.Version != tls.VersionTLS12 {
		t.Errorf("TLS 1.2 and HTTP/1.1: %v, %v", a, err)
	}
	if a, err := ask(tls.VersionTLS11, "http/1.1"); err == nil {
		t.Errorf("TLS 1.1 is taken: %v", a)
	}
	if a, err := p.Do("GET", "/livez", "", ""); err == nil && a.Status == 200 {
		t.Error("plain HTTP is answered on the port of TLS")
	}

	renew()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		a, err := ask(tls.VersionTLS13)
		if err != nil {
			t.Fatal(err)
		}
		if a.TLS.PeerCertificates[0].SerialNumber.Cmp(first.TLS.PeerCertificates[0].SerialNumber) != 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the certificate never changed")
		}
	}
	if strings.Contains(p.Log(), "PRIVATE") {
		t.Error("the log holds the key")
	}
}
