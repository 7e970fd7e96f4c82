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
	// on it; see [leeway].
	connectTimeout = 5 * time.Second
	readTimeout    = 5 * time.Second
	// answerTimeout is for an answer on a connection that may have gone dark since
	// it was last used.
	answerTimeout = time.Second
)

// PoolConfig is a pool of up to four connections that suits an engine; see
// [Config.Pool]. What the URL says of a connection comes first.
func PoolConfig(databaseURL, applicationName string) (*pgxpool.Config, error) {
	c, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	prepare(c.ConnConfig, applicationName)
	c.MaxConns = 4
	// A server that went away leaves dead connections behind. A write should not
	// be what finds them, however lately they were used.
	c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	c.PingTimeout = answerTimeout
	return c, nil
}

// ListenConfig is a connection that suits a listener; see [Config.Listen].
func ListenConfig(databaseURL, applicationName string) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	prepare(c, applicationName)
	return c, nil
}

// prepare sets what every connection needs: a name that a DBA recognises in
// pg_stat_activity; a deadline on connecting; a way to notice a link that went
// dark, which PostgreSQL's protocol has no ping for; and no prepared statements,
// which a pooler between may not know.
func prepare(c *pgx.ConnConfig, applicationName string) {
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = applicationName
	}
	// Else a role's or a database's own setting decides how text arrives.
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

// connect makes a connection that the caller closes. The config is from
// [PoolConfig] or [ListenConfig]. The context bounds it.
func connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

// mostLeeway is how many times its first length a timeout may get.
const mostLeeway = 4

// leeway makes timeouts longer after an attempt that timed out. A server that a
// whole fleet connects to at once may be slow with all of them: if each gave up and
// began again, it would never be done with any. The zero value is ready for use.
type leeway struct{ doubled int }

// of is how long a step may take that takes d if all is well.
func (p *leeway) of(d time.Duration) time.Duration { return min(d<<p.doubled, mostLeeway*d) }

// learn takes in how an attempt has ended.
func (p *leeway) learn(err error) {
	switch {
	case err == nil:
		p.doubled = 0
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errMute):
		p.doubled = min(p.doubled+1, 2)
	}
}

// timeout is a context for a question to the database, whose end says how long it
// was waited for.
func timeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("no answer within %v", d))
}
