package main

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgxlisten"
	"go.uber.org/zap"

	"platform-settings/db/migrations"
	"platform-settings/internal/pgserver"
)

// startPostgres starts a durable PostgreSQL for this many connections.
func startPostgres(ctx context.Context, connections int, params map[string]string) (*pgserver.Server, error) {
	all := map[string]string{"max_connections": strconv.Itoa(connections)}
	maps.Copy(all, params)
	return pgserver.Start(ctx, pgserver.Config{Fsync: true, Params: all})
}

func stopPostgres(s *pgserver.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = s.Stop(ctx)
}

// migrated is the URL of a database with the product's schema and the setting
// that the benchmarks write.
func migrated(ctx context.Context, s *pgserver.Server) (string, error) {
	url := s.URL("postgres")
	if err := migrations.Up(ctx, url, zap.NewNop()); err != nil {
		return "", err
	}
	return url, run(ctx, url, `INSERT INTO platform_settings (key, value_int) VALUES ('bench', 0)`)
}

// run runs statements on a connection of their own.
func run(ctx context.Context, url string, statements ...string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// listening is the basis of every system on PostgreSQL without an engine: a writer's
// connection, and a bare pgxlisten listener for each watcher.
type listening struct {
	server  *pgserver.Server
	url     string
	sql     string // of a write; $1 is the value
	channel string
	handle  func(ctx context.Context, watcher int, payload string, conn *pgx.Conn) error

	writer *pgx.Conn
	ctx    context.Context // of the listeners
	stop   context.CancelFunc
	wg     sync.WaitGroup
	n      int
}

func (l *listening) open(ctx context.Context) (err error) {
	l.ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.writer, err = pgx.Connect(ctx, l.url)
	return err
}

func (l *listening) watch(ctx context.Context, n int) error {
	for l.n < n {
		batch := min(n-l.n, 50) // at once: the server forks for each
		live := make(chan struct{}, batch)
		for range batch {
			watcher := l.n
			l.n++
			one := &pgxlisten.Listener{
				Connect: func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, l.url) },
			}
			one.Handle(l.channel, &bare{
				live: func() { live <- struct{}{} },
				handle: func(ctx context.Context, payload string, conn *pgx.Conn) error {
					return l.handle(ctx, watcher, payload, conn)
				},
			})
			l.wg.Go(func() { _ = one.Listen(l.ctx) })
		}
		for range batch {
			select {
			case <-live:
			case <-time.After(patience):
				return fmt.Errorf("not all listeners were live within %v", patience)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

func (l *listening) write(ctx context.Context, value int64) error {
	_, err := l.writer.Exec(ctx, l.sql, value)
	return err
}

func (l *listening) process() int { return l.server.PID() }

func (l *listening) close() {
	l.stop()
	l.wg.Wait()
	_ = l.writer.Close(context.Background())
	stopPostgres(l.server)
}

// bare is a pgxlisten handler and nothing more.
type bare struct {
	live   func()
	handle func(ctx context.Context, payload string, conn *pgx.Conn) error
}

func (b *bare) HandleBacklog(context.Context, string, *pgx.Conn) error {
	b.live()
	return nil
}

func (b *bare) HandleNotification(ctx context.Context, n *pgconn.Notification, conn *pgx.Conn) error {
	return b.handle(ctx, n.Payload, conn)
}

// bareSchema is the least that can notify a listener of a change: a table and one
// trigger.
func bareSchema(payload string) []string {
	return []string{
		`CREATE TABLE bare (key text PRIMARY KEY, value bigint NOT NULL)`,
		`INSERT INTO bare VALUES ('bench', 0)`,
		`CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('bare', ` + payload + `); RETURN NULL; END $$`,
		`CREATE TRIGGER tell AFTER UPDATE ON bare FOR EACH ROW EXECUTE FUNCTION tell()`,
	}
}

const bareWrite = `UPDATE bare SET value = $1 WHERE key = 'bench'`

// openFloor is the floor: the payload is the value, and the handler stores it.
func openFloor(ctx context.Context, saw seen) (system, error) {
	return openBare(ctx, bareSchema("NEW.value::text"), storing(saw))
}

// openReread is the obvious first solution: the handler reads the table on each
// notification.
func openReread(ctx context.Context, saw seen) (system, error) {
	var values [maxWatchers]atomic.Int64
	return openBare(ctx, bareSchema("''"), func(ctx context.Context, watcher int, _ string, conn *pgx.Conn) error {
		var value int64
		if err := conn.QueryRow(ctx, `SELECT value FROM bare WHERE key = 'bench'`).Scan(&value); err != nil {
			return err
		}
		values[watcher].Store(value)
		saw(watcher, value)
		return nil
	})
}

// storing is the bare handler: it stores one integer.
func storing(saw seen) func(context.Context, int, string, *pgx.Conn) error {
	var values [maxWatchers]atomic.Int64
	return func(_ context.Context, watcher int, payload string, _ *pgx.Conn) error {
		value, err := strconv.ParseInt(payload, 10, 64)
		if err != nil {
			return err
		}
		values[watcher].Store(value)
		saw(watcher, value)
		return nil
	}
}

func openBare(ctx context.Context, schema []string, handle func(context.Context, int, string, *pgx.Conn) error) (system, error) {
	server, err := startPostgres(ctx, maxWatchers+50, nil)
	if err != nil {
		return nil, err
	}
	l := &listening{server: server, url: server.URL("postgres"), sql: bareWrite, channel: "bare", handle: handle}
	if err := run(ctx, l.url, schema...); err != nil {
		stopPostgres(server)
		return nil, err
	}
	return l, l.open(ctx)
}

// openBareOnOurs combines the product's schema, with its history and revision, with
// the floor's payload and handlers. It shows what the schema alone costs.
func openBareOnOurs(ctx context.Context, saw seen) (system, error) {
	server, err := startPostgres(ctx, maxWatchers+50, nil)
	if err != nil {
		return nil, err
	}
	l := &listening{server: server, sql: ourWrite, handle: storing(saw)}
	if l.url, err = migrated(ctx, server); err != nil {
		stopPostgres(server)
		return nil, err
	}
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	var definition string
	if err := l.writer.QueryRow(ctx, `SELECT pg_get_functiondef('settings_commit'::regproc)`).Scan(&definition); err != nil {
		return nil, err
	}
	const notify = `PERFORM pg_notify(announce, message);`
	if !strings.Contains(definition, notify) {
		return nil, fmt.Errorf("settings_commit() holds no %q to replace", notify)
	}
	definition = strings.Replace(definition, notify,
		`PERFORM pg_notify(announce, (SELECT value_int::text FROM public.platform_settings WHERE key = 'bench'));`, 1)
	if _, err := l.writer.Exec(ctx, definition); err != nil {
		return nil, err
	}
	return l, l.writer.QueryRow(ctx, `SELECT channel FROM settings_head`).Scan(&l.channel)
}
