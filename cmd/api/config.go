package main

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caarlos0/env/v11"
	"go.uber.org/zap/zapcore"

	"platform-settings/internal/httpx"
	"platform-settings/internal/settings"
)

// config is everything that comes from the environment. Only this file reads it.
// White space around a value is removed, and an empty variable counts as not set.
type config struct {
	DatabaseURL       databaseURL   `env:"DATABASE_URL,required" help:"PostgreSQL, as a URL or as key=value words; required"`
	ListenDatabaseURL databaseURL   `env:"LISTEN_DATABASE_URL" help:"a direct connection for LISTEN, if DATABASE_URL goes through a pooler (default: DATABASE_URL)"`
	ListenAddr        address       `env:"LISTEN_ADDR" envDefault:":8080" help:"where to serve HTTP (default :8080)"`
	PodName           podName       `env:"POD_NAME" help:"this pod's name (default: the host name and a random suffix)"`
	SettingsTTL       ttl           `env:"SETTINGS_TTL" envDefault:"10s" help:"how often to poll the table, the fallback of LISTEN; 50ms to 1h (default 10s)"`
	MaintenanceMode   *onOff        `env:"MAINTENANCE_MODE" help:"true or false: the switch until the database has been read; from then on, the database decides"`
	MaxStaleness      staleness     `env:"MAX_STALENESS" envDefault:"0" help:"close this pod's gate once the database has not confirmed its settings for so long, e.g. 30s; at least twice SETTINGS_TTL (default 0: never)"`
	LastGoodFile      filePath      `env:"LAST_GOOD_FILE" help:"where to keep the last settings, for a start without the database; holds private settings too (default: nowhere)"`
	AdminTokens       []httpx.Token `env:"ADMIN_TOKENS" help:"name:role:token, … with the roles viewer, operator, admin; without any token, here or in ADMIN_TOKENS_FILE, there is no admin API"`
	AdminTokensFile   string        `env:"ADMIN_TOKENS_FILE" help:"a file of lines name:role:digest[:end], as api token new prints them; read again when its content changes (default: none)"`
	TLSCertFile       string        `env:"TLS_CERT_FILE" help:"a certificate and its chain, PEM: serve HTTPS, also HTTP/2; read again when its content changes (default: plain HTTP)"`
	TLSKeyFile        string        `env:"TLS_KEY_FILE" help:"the key of TLS_CERT_FILE, PEM"`
	UpstreamURL       upstreamURL   `env:"UPSTREAM_URL" help:"the platform behind the gate, http or https (default: a landing page)"`
	AdminListenAddr   address       `env:"ADMIN_LISTEN_ADDR" help:"where to serve the admin API and the metrics, apart from the public address (default: on LISTEN_ADDR)"`
	MaxConnections    connections   `env:"MAX_CONNECTIONS" help:"how many connections LISTEN_ADDR takes at once; needs ADMIN_LISTEN_ADDR (default 10000 with it, else no limit)"`
	CORSOrigins       origins       `env:"CORS_ORIGINS" help:"origins whose scripts may read our own answers, comma-separated, such as https://shop.example, or * for any (default: none)"`
	TrustedProxies    prefixes      `env:"TRUSTED_PROXIES" help:"addresses or CIDR ranges, comma-separated, whose X-Forwarded-For and Forwarded are believed"`
	Migrate           migrateMode   `env:"MIGRATE" envDefault:"up" help:"up or off: whether serve brings the schema up to date first (default up)"`
	LogLevel          logLevel      `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error (default info)"`
	LogFormat         logFormat     `env:"LOG_FORMAT" envDefault:"json" help:"json or console (default json)"`
}

// defaultMaxConnections is MAX_CONNECTIONS beside an ADMIN_LISTEN_ADDR.
const defaultMaxConnections = 10_000

// Each kind of variable has a type and a parser of its own. A parser's error never
// quotes the value of a variable that may hold a secret.
type (
	databaseURL string
	address     string
	podName     string
	ttl         time.Duration
	staleness   time.Duration
	filePath    string
	onOff       bool
	upstreamURL struct{ *url.URL }
	connections int
	origins     httpx.Origins
	prefixes    []netip.Prefix
	migrateMode string
	logLevel    zapcore.Level
	logFormat   string
)

var parsers = map[reflect.Type]env.ParserFunc{
	reflect.TypeFor[databaseURL](): func(s string) (any, error) {
		misplaced := isUnseen
		if !strings.HasPrefix(s, "postgres://") && !strings.HasPrefix(s, "postgresql://") {
			misplaced = func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) } // spaces separate the words, and a value may contain anything
		}
		if strings.ContainsFunc(s, misplaced) {
			return nil, errors.New("has white space or an invisible character inside; a URL takes %20 for a space")
		}
		// The library's own error may quote the URL, and with it the password.
		if _, err := settings.PoolConfig(s, ""); err != nil {
			return nil, errors.New("is neither a URL such as postgres://user:password@host:5432/database nor key=value words such as host=/run/postgresql dbname=platform")
		}
		return databaseURL(s), nil
	},
	reflect.TypeFor[address](): func(s string) (any, error) {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return nil, fmt.Errorf("%q is not an address such as :8080 or 127.0.0.1:8080", s)
		}
		return address(s), nil
	},
	reflect.TypeFor[podName](): func(s string) (any, error) {
		if !regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}$`).MatchString(s) {
			return nil, fmt.Errorf("%q is not a name of at most 128 letters, digits, dots, dashes and underscores", s)
		}
		return podName(s), nil
	},
	reflect.TypeFor[ttl](): func(s string) (any, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			return nil, fmt.Errorf("%q is not a duration such as 10s", s)
		}
		if d < settings.MinTTL || d > time.Hour {
			return nil, fmt.Errorf("%v is not between %v and 1h", d, settings.MinTTL)
		}
		return ttl(d), nil
	},
	reflect.TypeFor[staleness](): func(s string) (any, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return nil, fmt.Errorf("%q is not 0 or a duration such as 30s", s)
		}
		return staleness(d), nil
	},
	reflect.TypeFor[filePath](): func(s string) (any, error) {
		if info, err := os.Stat(filepath.Dir(s)); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("%q is not in a directory that exists", s)
		}
		return filePath(s), nil
	},
	reflect.TypeFor[onOff](): func(s string) (any, error) {
		switch strings.ToLower(s) {
		case "true", "on", "1":
			return onOff(true), nil
		case "false", "off", "0":
			return onOff(false), nil
		}
		return nil, fmt.Errorf("%q is neither true nor false", s)
	},
	reflect.TypeFor[[]httpx.Token](): func(s string) (any, error) { return httpx.ParseTokens(s) },
	reflect.TypeFor[upstreamURL](): func(s string) (any, error) {
		if strings.ContainsFunc(s, isUnseen) {
			return nil, errors.New("has white space or an invisible character inside; a URL takes %20 for a space")
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return nil, errors.New("is not a URL such as http://platform:3000, without user and password")
		}
		return upstreamURL{u}, nil
	},
	reflect.TypeFor[apiToken](): func(s string) (any, error) {
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, errors.New("is not a single token: it contains white space, or a character that is not visible ASCII")
		}
		return apiToken(s), nil
	},
	reflect.TypeFor[connections](): func(s string) (any, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a whole number of at least 1", s)
		}
		return connections(n), nil
	},
	reflect.TypeFor[origins](): func(s string) (any, error) {
		all, err := httpx.ParseOrigins(s)
		return origins(all), err
	},
	reflect.TypeFor[prefixes](): func(s string) (any, error) {
		var all prefixes
		for word := range strings.SplitSeq(s, ",") {
			word = strings.TrimSpace(word)
			p, err := netip.ParsePrefix(word)
			if err != nil {
				a, err := netip.ParseAddr(word)
				if err != nil {
					return nil, fmt.Errorf("%q is neither an address nor a range such as 10.0.0.0/8", word)
				}
				p = netip.PrefixFrom(a.WithZone(""), a.BitLen())
			}
			if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 { // callers' addresses are compared as IPv4
				p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
			}
			all = append(all, p.Masked())
		}
		return all, nil
	},
	reflect.TypeFor[migrateMode](): oneOf[migrateMode]("up", "off"),
	reflect.TypeFor[logFormat]():   oneOf[logFormat]("json", "console"),
	reflect.TypeFor[logLevel](): func(s string) (any, error) {
		level, err := zapcore.ParseLevel(s)
		if err != nil || level > zapcore.ErrorLevel {
			return nil, fmt.Errorf("%q is not one of debug, info, warn, error", s)
		}
		return logLevel(level), nil
	},
}

func oneOf[T ~string](words ...string) env.ParserFunc {
	return func(s string) (any, error) {
		for _, w := range words {
			if s == w {
				return T(w), nil
			}
		}
		return nil, fmt.Errorf("%q is not one of %s", s, strings.Join(words, ", "))
	}
}

// isSpace reports whether a character is white space, or the byte order mark that
// some editors put at the start of a file.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' }

// isUnseen reports whether a character cannot be seen on a screen.
func isUnseen(r rune) bool { return isSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// parse reads variables into a struct. Its error is one line that names each
// variable that is wrong.
func parse[T any](environment map[string]string) (c T, err error) {
	trimmed := map[string]string{}
	for name, value := range environment {
		trimmed[name] = strings.TrimFunc(value, isSpace) // a secret's file ends with a newline
	}
	if err := env.ParseWithOptions(&c, env.Options{Environment: trimmed, FuncMap: parsers}); err != nil {
		return c, errors.New(explain(reflect.TypeFor[T](), err))
	}
	return c, nil
}

// readConfig reads the environment of serve and migrate.
func readConfig(environment map[string]string) (config, error) {
	c, err := parse[config](environment)
	if err != nil {
		return config{}, err
	}
	if c.DatabaseURL == "" {
		return config{}, errors.New("DATABASE_URL is required; it has no default")
	}
	if c.MaxStaleness != 0 && time.Duration(c.MaxStaleness) < 2*time.Duration(c.SettingsTTL) {
		return config{}, fmt.Errorf("MAX_STALENESS is %v, and must be at least twice SETTINGS_TTL, which is %v",
			time.Duration(c.MaxStaleness), time.Duration(c.SettingsTTL))
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		return config{}, errors.New("TLS_CERT_FILE and TLS_KEY_FILE must be set together; for plain HTTP, set neither")
	}
	switch {
	case c.AdminListenAddr == "" && c.MaxConnections != 0:
		return config{}, errors.New("MAX_CONNECTIONS needs ADMIN_LISTEN_ADDR: if all share one address, a limit could lock out the admin API and the probes")
	case c.AdminListenAddr != "":
		c.MaxConnections = cmp.Or(c.MaxConnections, defaultMaxConnections)
	}
	c.ListenDatabaseURL = cmp.Or(c.ListenDatabaseURL, c.DatabaseURL)
	c.PodName = cmp.Or(c.PodName, defaultPodName())
	return c, nil
}

// explain puts the library's errors into one line, and names the variables in
// place of the fields.
func explain(of reflect.Type, err error) string {
	collected, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return err.Error()
	}
	var lines []string
	for _, err := range collected.Errors {
		if missing, ok := errors.AsType[env.VarIsNotSetError](err); ok {
			lines = append(lines, missing.Key+" is required")
			continue
		}
		bad, ok := errors.AsType[env.ParseError](err)
		if !ok {
			lines = append(lines, err.Error())
			continue
		}
		field, _ := of.FieldByName(bad.Name)
		lines = append(lines, variable(field)+" "+bad.Err.Error())
	}
	return strings.Join(lines, "; ")
}

func variable(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("env"), ",")
	return name
}

// clientConfig is the environment of the commands that talk to a running pod.
type clientConfig struct {
	APIURL   upstreamURL `env:"API_URL" envDefault:"http://localhost:8080" help:"a pod, or a load balancer in front of pods (default http://localhost:8080)"`
	APIToken apiToken    `env:"API_TOKEN" help:"an admin token, without its name and role"`
}

type apiToken string

// describeConfig prints a line for each variable of a config.
func describeConfig(w io.Writer, of reflect.Type) {
	for field := range of.Fields() {
		fmt.Fprintf(w, "  %-20s %s\n", variable(field), field.Tag.Get("help"))
	}
}

// environment is this process's environment, by variable.
func environment() map[string]string { return env.ToMap(os.Environ()) }

func defaultPodName() podName {
	host, err := os.Hostname()
	if err != nil {
		host = "pod"
	}
	suffix := make([]byte, 3)
	_, _ = rand.Read(suffix) // never fails
	return podName(host + "-" + hex.EncodeToString(suffix))
}
