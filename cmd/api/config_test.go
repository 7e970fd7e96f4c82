package main

import (
	"maps"
	"strings"
	"testing"
)

// A value from a secret's file ends with a newline, and some editors put a byte
// order mark at its start.
func TestWhiteSpaceAroundAVariableIsTakenOff(t *testing.T) {
	const token = "0123456789-0123456789-0123456789"
	plain := map[string]string{
		"DATABASE_URL": "postgres://u:p@h/d", "LISTEN_DATABASE_URL": "host=h dbname=d", "LISTEN_ADDR": ":1", "POD_NAME": "p",
		"SETTINGS_TTL": "1s", "MAINTENANCE_MODE": "on", "MAX_STALENESS": "9s", "LAST_GOOD_FILE": "/tmp/f",
		"ADMIN_TOKENS": "a:admin:" + token, "UPSTREAM_URL": "http://h", "TRUSTED_PROXIES": "10.0.0.0/8", "MIGRATE": "off",
		"LOG_LEVEL": "debug", "LOG_FORMAT": "console",
	}
	want, err := readConfig(plain)
	if err != nil {
		t.Fatal(err)
	}
	for name := range plain {
		for _, around := range [][2]string{{"", "\n"}, {"", "\r\n"}, {" ", " "}, {"\t", "\v\f"}, {"\ufeff", ""}, {"\ufeff \u00a0", "\u2003\n\n"}} {
			spaced := maps.Clone(plain)
			spaced[name] = around[0] + plain[name] + around[1]
			got, err := readConfig(spaced)
			if err != nil {
				t.Errorf("%s = %q: %v", name, spaced[name], err)
				continue
			}
			if string(got.DatabaseURL) != string(want.DatabaseURL) || got.ListenDatabaseURL != want.ListenDatabaseURL || got.ListenAddr != want.ListenAddr ||
				got.PodName != want.PodName || got.SettingsTTL != want.SettingsTTL || *got.MaintenanceMode != *want.MaintenanceMode ||
				got.MaxStaleness != want.MaxStaleness || got.LastGoodFile != want.LastGoodFile || got.AdminTokens[0] != want.AdminTokens[0] ||
				got.UpstreamURL.String() != want.UpstreamURL.String() || got.TrustedProxies[0] != want.TrustedProxies[0] ||
				got.Migrate != want.Migrate || got.LogLevel != want.LogLevel || got.LogFormat != want.LogFormat {
				t.Errorf("%s = %q: %+v, want %+v", name, spaced[name], got, want)
			}
		}
	}
	c, err := parse[clientConfig](map[string]string{"API_URL": "\ufeffhttp://h:1\r\n", "API_TOKEN": " " + token + "\n"})
	if err != nil || c.APIURL.String() != "http://h:1" || string(c.APIToken) != token {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAVariableOfWhiteSpaceIsNotSet(t *testing.T) {
	blank := map[string]string{"DATABASE_URL": "host=h"}
	for _, name := range []string{
		"LISTEN_DATABASE_URL", "LISTEN_ADDR", "POD_NAME", "SETTINGS_TTL", "MAINTENANCE_MODE", "MAX_STALENESS", "LAST_GOOD_FILE",
		"ADMIN_TOKENS", "UPSTREAM_URL", "TRUSTED_PROXIES", "MIGRATE", "LOG_LEVEL", "LOG_FORMAT",
	} {
		blank[name] = " \r\n\ufeff"
	}
	c, err := readConfig(blank)
	if err != nil || c.ListenDatabaseURL != c.DatabaseURL || c.ListenAddr != ":8080" || c.PodName == "" || c.MaintenanceMode != nil ||
		c.AdminTokens != nil || c.UpstreamURL.URL != nil || c.TrustedProxies != nil || c.Migrate != "up" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := readConfig(map[string]string{"DATABASE_URL": "\n"}); err == nil || !strings.Contains(err.Error(), "DATABASE_URL is required") {
		t.Errorf("a blank DATABASE_URL: %v", err)
	}
	client, err := parse[clientConfig](map[string]string{"API_URL": "\n", "API_TOKEN": "\n"})
	if err != nil || client.APIURL.Host != "localhost:8080" || client.APIToken != "" {
		t.Errorf("%+v, %v", client, err)
	}
}

func TestWhiteSpaceInsideASecretOrAURLIsAnErrorWithoutIt(t *testing.T) {
	const secret = "hunter2-hunter2-hunter2-hunter2-hunter2"
	for _, inside := range []string{" ", "\n", "\r\n", "\t", "\x00", "\x1b", "\x7f", "\u0085", "\u00a0", "\u200b", "\ufeff", "\u202e"} {
		for name, format := range map[string]string{
			"DATABASE_URL":        "postgres://u:" + secret + "@h/d?application_name=a_b",
			"LISTEN_DATABASE_URL": "postgresql://u:" + secret + "_x@h/d",
			"UPSTREAM_URL":        "http://h/" + secret + "_x",
			"ADMIN_TOKENS":        "a:admin:" + secret + "_x",
			"API_URL":             "https://h_h/" + secret,
			"API_TOKEN":           secret + "_x",
		} {
			environment := map[string]string{"DATABASE_URL": "host=h"}
			environment[name] = strings.Replace(format, "_x", inside+"x", 1)
			environment[name] = strings.Replace(environment[name], "a_b", "a"+inside+"b", 1)
			environment[name] = strings.Replace(environment[name], "h_h", "h"+inside+"h", 1)
			var err error
			if strings.HasPrefix(name, "API_") {
				_, err = parse[clientConfig](environment)
			} else {
				_, err = readConfig(environment)
			}
			if err == nil || !strings.HasPrefix(err.Error(), name+" ") || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s with %q inside: %v", name, inside, err)
			}
		}
	}
	for _, inside := range []string{"\x00", "\x1b", "\x7f"} {
		if _, err := readConfig(map[string]string{"DATABASE_URL": "host=h password=" + inside + secret}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("words with %q inside: %v", inside, err)
		}
	}
}

func TestWordsOfAConnectionMayStandApart(t *testing.T) {
	for _, words := range []string{"host=h dbname=d", "host=h\ndbname=d\n", "host=h\tpassword='a b://c d'", "host = h"} {
		if _, err := readConfig(map[string]string{"DATABASE_URL": words}); err != nil {
			t.Errorf("%q: %v", words, err)
		}
	}
}

func TestAProxyIsTrustedHoweverItsAddressIsWritten(t *testing.T) {
	for written, want := range map[string]string{
		"10.1.2.3": "10.1.2.3/32", "10.1.2.3/8": "10.0.0.0/8", "::ffff:10.1.2.3": "10.1.2.3/32", "::ffff:10.1.2.3/104": "10.0.0.0/8",
		"FD00::1": "fd00::1/128", "fd00::1/8": "fd00::/8", "fe80::1%eth0": "fe80::1/128", "::/0": "::/0",
	} {
		c, err := readConfig(map[string]string{"DATABASE_URL": "host=h", "TRUSTED_PROXIES": written})
		if err != nil || len(c.TrustedProxies) != 1 || c.TrustedProxies[0].String() != want {
			t.Errorf("%s: %v, %v, want %s", written, c.TrustedProxies, err, want)
		}
	}
}

func TestAnOriginThatNeverMatchesStopsTheStartWithOneLine(t *testing.T) {
	for _, bad := range []string{"https://*.example", "https://shop.example:443", "https://bücher.example", "*,https://a.example", "https://SHOP.example", "https://shop.example/", "null", ","} {
		_, err := readConfig(map[string]string{"DATABASE_URL": "host=h", "CORS_ORIGINS": bad})
		if err == nil || !strings.HasPrefix(err.Error(), "CORS_ORIGINS ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	c, err := readConfig(map[string]string{"DATABASE_URL": "host=h", "CORS_ORIGINS": " https://shop.example , http://localhost:5173\n"})
	if err != nil || len(c.CORSOrigins) != 2 || c.CORSOrigins[0] != "https://shop.example" || c.CORSOrigins[1] != "http://localhost:5173" {
		t.Errorf("%q, %v", c.CORSOrigins, err)
	}
}
