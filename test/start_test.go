package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

// A malformed variable stops the start. One line names the variable and says why, and
// never contains a secret.
func TestAMalformedVariableStopsTheStartWithOneLineThatNamesIt(t *testing.T) {
	const secret = "hunter2-hunter2-hunter2-hunter2-hunter2"
	good := "DATABASE_URL=postgres://postgres@127.0.0.1:1/none"
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for variable, why := range map[string]string{
		"DATABASE_URL=": "required",
		"DATABASE_URL=postgres://u:" + secret + "@h:bad/x":                 "neither a URL",
		"DATABASE_URL=postgres://u:" + secret + "%@h/x":                    "neither a URL",
		"LISTEN_DATABASE_URL=mysql://u:" + secret + "@h/x":                 "neither a URL",
		"MAX_STALENESS=soon":                                               "not 0 or a duration",
		"MAX_STALENESS=15s":                                                "twice SETTINGS_TTL",
		"LAST_GOOD_FILE=/no/such/dir/file":                                 "not in a directory",
		"LISTEN_ADDR=8080":                                                 "not an address",
		"POD_NAME=a b":                                                     "not a name",
		"SETTINGS_TTL=10":                                                  "not a duration",
		"SETTINGS_TTL=-1s":                                                 "not between",
		"MAINTENANCE_MODE=maybe":                                           "neither true nor false",
		"ADMIN_TOKENS=" + secret:                                           "token 1",
		"ADMIN_TOKENS=a:root:" + secret:                                    "token 1",
		"ADMIN_TOKENS=a:admin:short":                                       "32",
		"ADMIN_TOKENS=a:admin:" + secret + ",b:viewer:" + secret:           "token 2",
		"ADMIN_TOKENS_FILE=/no/such/file":                                  "no such file",
		"ADMIN_TOKENS_FILE=" + file("a:admin:"+secret):                     "line 1",
		"TLS_CERT_FILE=" + file(secret):                                    "TLS_KEY_FILE",
		"TLS_KEY_FILE=" + file(secret):                                     "TLS_CERT_FILE",
		"TLS_CERT_FILE=" + file(secret) + "\nTLS_KEY_FILE=" + file(secret): "PEM",
		"UPSTREAM_URL=ftp://h":                                             "not a URL",
		"UPSTREAM_URL=http://u:" + secret + "@h/":                          "not a URL",
		"ADMIN_LISTEN_ADDR=9090":                                           "not an address",
		"MAX_CONNECTIONS=100":                                              "needs ADMIN_LISTEN_ADDR",
		"MAX_CONNECTIONS=none\nADMIN_LISTEN_ADDR=127.0.0.1:0":              "not a whole number",
		"CORS_ORIGINS=shop.example":                                        "not an origin",
		"TRUSTED_PROXIES=10.0.0.0/99":                                      "neither an address nor a range",
		"MIGRATE=down":                                                     "not one of",
		"LOG_LEVEL=loud":                                                   "not one of",
		"LOG_FORMAT=xml":                                                   "not one of",
	} {
		cmd := exec.CommandContext(t.Context(), pod.Binary(t))
		cmd.Env = append([]string{good}, strings.Split(variable, "\n")...)
		out, err := cmd.CombinedOutput()
		name, _, _ := strings.Cut(variable, "=")
		line := strings.TrimSuffix(string(out), "\n")
		if err == nil || !strings.Contains(line, name) || !strings.Contains(line, why) || strings.Contains(line, "\n") {
			t.Errorf("%s: %v, %q, want one line with %q and %q", variable, err, out, name, why)
		}
		if strings.Contains(line, secret) {
			t.Errorf("%s: the secret is printed: %q", variable, out)
		}
	}
}

func TestMigrateAlone(t *testing.T) {
	url := pgtest.Empty(t)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), pod.Binary(t), args...)
		cmd.Env = []string{"DATABASE_URL=" + url}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	for _, step := range [][2]string{{"version", "0"}, {"up", ""}, {"version", "983"}, {"up", ""}, {"down", ""}, {"version", "0"}, {"up", ""}} {
		if got := run("migrate", step[0]); got != step[1] {
			t.Errorf("migrate %s printed %q, want %q", step[0], got, step[1])
		}
	}
}

// No test code is linked into the binary. HTTP does not import SQL, the source does not
// import HTTP, the keeper imports neither, and internal/wire imports none of our
// packages.
func TestImportsGoOneWay(t *testing.T) {
	for of, never := range map[string][]string{
		"platform-settings/cmd/api": {
			"platform-settings/test", "platform-settings/cmd/dev", "platform-settings/internal/pgserver",
			"testing", "github.com/fergusstrange", "github.com/google/go-cmp", "net/http/httptest", "go.uber.org/zap/zaptest",
		},
		"platform-settings/internal/settings": {"platform-settings/internal/httpx", "platform-settings/db", "github.com/labstack"},
		"platform-settings/settings":          {"platform-settings/internal/settings", "platform-settings/internal/httpx", "platform-settings/db", "github.com/labstack", "github.com/jackc", "database/sql"},
		"platform-settings/internal/wire":     {"platform-settings/settings", "platform-settings/internal/settings", "platform-settings/internal/httpx"},
		"platform-settings/db/migrations":     {"platform-settings/internal", "platform-settings/settings"},
	} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", of).Output()
		if err != nil {
			t.Fatal(err)
		}
		for dep := range strings.Lines(string(out)) {
			for _, n := range never {
				if dep = strings.TrimSpace(dep); dep == n || strings.HasPrefix(dep, n+"/") {
					t.Errorf("%s depends on %s", of, dep)
				}
			}
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{join .Imports "\n"}}`, "platform-settings/internal/httpx").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "jackc") {
		t.Errorf("httpx knows SQL:\n%s", out)
	}
}
