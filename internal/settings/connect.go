package settings

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// connectTimeout is for making a connection, and readTimeout for the first answer
	// on it. Both may be lengthened by a [leeway].
	connectTimeout = 5 * time.Second
	readTimeout    = 5 * time.Second
	// answerTimeout is for an answer on a connection that may have gone dark since
	// it was last used.
	answerTimeout = time.Second
)

// PoolConfig configures a pool of up to four connections for [Config.Pool]. Connection
// parameters in the URL take precedence. The error says why the URL cannot be parsed.
func PoolConfig(databaseURL, applicationName string) (*pgxpool.Config, error) {
	c, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	prepare(c.ConnConfig, applicationName)
	c.MaxConns = 4
	// A server that went away leaves dead connections behind, even recently used ones.
	// A ping should find them, not a write.
	c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	c.PingTimeout = answerTimeout
	return c, nil
}

// ListenConfig configures a listener's connection for [Config.Listen]. Connection
// parameters in the URL take precedence. The error says why the URL cannot be parsed.
func ListenConfig(databaseURL, applicationName string) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	prepare(c, applicationName)
	return c, nil
}

// prepare sets what every connection needs: a name that a DBA recognises in
// pg_stat_activity, a deadline on connecting, and TCP keepalive, because PostgreSQL's
// protocol has no ping that would find a dead link. It avoids prepared statements,
// because a pooler in between may not know them.
func prepare(c *pgx.ConnConfig, applicationName string) {
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = applicationName
	}
	// Otherwise a default of the role or the database decides how text is encoded.
	c.RuntimeParams["client_encoding"] = "UTF8"
	if c.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = mostLeeway * connectTimeout
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3,
	}}
	c.DialFunc = dialer.DialContext
}

// connect makes a connection, from the config of [PoolConfig] or [ListenConfig]. The
// caller closes it.
func connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

// mostLeeway is the largest factor by which a leeway lengthens a timeout.
const mostLeeway = 4

// leeway lengthens timeouts after an attempt that timed out. If a whole fleet connects
// at once, the server may be slow for each pod. If all gave up and began again, it might
// never finish with any of them. The zero value is ready for use.
type leeway struct{ doubled int }

// of lengthens a timeout d.
func (p *leeway) of(d time.Duration) time.Duration { return min(d<<p.doubled, mostLeeway*d) }

// learn takes the result of an attempt: a timeout doubles the leeway, and success resets it.
func (p *leeway) learn(err error) {
	switch {
	case err == nil:
		p.doubled = 0
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errMute):
		p.doubled = min(p.doubled+1, 2)
	}
}

// timeout limits a question to the database. The context's cause says how long that was.
func timeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("no answer within %v", d))
}
