package httpx

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"platform-settings/test/selfsigned"
)

func TestACertificateAndItsKeyMayChangeOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, key := selfsigned.Pair(t, time.Now().AddDate(1, 0, 0))
		certFile, keyFile := newFile(t, string(cert)), newFile(t, string(key))
		core, logs := observer.New(zapcore.InfoLevel)
		c, err := LoadCertificate(certFile, keyFile, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		follow(t, c.Run)
		first := c.shown(t)

		cert, key = selfsigned.Pair(t, time.Now().AddDate(1, 0, 0))
		time.Sleep(reloadPeriod - 1)
		rewrite(t, certFile, string(cert))
		time.Sleep(settleTime / 2) // so that the pair is read between the two writes
		rewrite(t, keyFile, string(key))
		time.Sleep(settleRuns * settleTime)
		synctest.Wait()
		if second := c.shown(t); second == first || c.Problem() != "" || logs.FilterMessage("degraded").Len() != 0 {
			t.Errorf("certificates %s and %s, problem %q, logged %v", first, second, c.Problem(), logs.All())
		}

		cert, _ = selfsigned.Pair(t, time.Now().AddDate(1, 0, 0))
		second := c.shown(t)
		rewrite(t, certFile, string(cert))
		time.Sleep(3 * reloadPeriod)
		synctest.Wait()
		if c.shown(t) != second || !strings.HasPrefix(c.Problem(), "TLS certificate: ") || strings.Contains(c.Problem(), "BEGIN") || logs.FilterMessage("degraded").Len() != 1 {
			t.Errorf("a pair that does not match: problem %q, logged %v", c.Problem(), logs.All())
		}
		if _, err := LoadCertificate(certFile, keyFile, nil); err == nil {
			t.Error("a pod starts with it")
		}
		if err := os.Remove(keyFile); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * reloadPeriod)
		synctest.Wait()
		if c.shown(t) != second || !strings.Contains(c.Problem(), "no such file") {
			t.Errorf("no key: problem %q", c.Problem())
		}
	})
}

func (c *Certificate) shown(t *testing.T) string {
	t.Helper()
	pair, err := c.Config().GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf.SerialNumber.String()
}

func TestACertificateThatEndsSoonIsAProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			left         time.Duration
			before, then string // the problem at first, and a minute later
		}{
			{renewalNotice + time.Hour, "", ""},
			{renewalNotice + time.Minute, "", "it expires at "},
			{time.Minute, "it expires at ", "it expired at "},
			{0, "it expired at ", "it expired at "},
		} {
			end := time.Now().Add(test.left).UTC().Truncate(time.Second)
			cert, key := selfsigned.Pair(t, end)
			core, logs := observer.New(zapcore.InfoLevel)
			c, err := LoadCertificate(newFile(t, string(cert)), newFile(t, string(key)), zap.New(core))
			if err != nil {
				t.Fatal(err)
			}
			follow(t, c.Run)
			for _, want := range []string{test.before, test.then} {
				synctest.Wait()
				if want != "" {
					want = "TLS certificate: " + want + end.Format(time.RFC3339)
				}
				if got := c.Problem(); !strings.HasPrefix(got, want) || want == "" && got != "" {
					t.Errorf("%v left: problem is %q, want %q", test.left, got, want)
				}
				time.Sleep(time.Minute + 2*reloadPeriod)
			}
			if test.before == test.then && logs.Len() > 1 {
				t.Errorf("logged %v", logs.All())
			}
		}
	})
}
