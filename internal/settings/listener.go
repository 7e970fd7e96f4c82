package settings

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgxlisten"
)

// Timeouts of the steps of the listener's life, and of its backoff: the first
// wait, and the most that any takes.
const (
	connectTimeout = 5 * time.Second
	readTimeout    = 5 * time.Second
	firstBackoff   = 20 * time.Millisecond
	mostBackoff    = time.Second

	// configuredBackoff is for what only a change of somebody's configuration can
	// mend.
	configuredBackoff = 30 * time.Second
)

// Why a listener was ended by its own engine.
var (
	errWentBack = errors.New("the database went back")
	errDeaf     = errors.New("the poll found a commit that the listener never announced")
	errRotated  = errors.New("the channel has another name now")
	errMute     = errors.New("LISTEN was not answered in time")
	errElse     = errors.New("LISTEN_DATABASE_URL leads to another database than DATABASE_URL")
)

// listener hears commits and puts them in force. Each connection is a
// pgxlisten.Listener of its own, since the channel's name is read anew on each.
type listener struct {
	engine *Engine
	config *pgx.ConnConfig

	live  atomic.Bool  // LISTENing, and the snapshot was read after that
	heard atomic.Int64 // the highest revision this connection told of, by read or notification
	count atomic.Int64 // of notifications, whatever they held

	mu       sync.Mutex
	channel  string                  // of the connection that stands
	database string                  // that it leads to; see head
	end      context.CancelCauseFunc // ends it
}

func newListener(e *Engine, config *pgx.ConnConfig) *listener {
	return &listener{engine: e, config: config}
}

// run connects and listens until ctx ends. Only a connection on which the
// snapshot was read resets the backoff: one that accepts and then fails must not
// be asked again at once.
func (l *listener) run(ctx context.Context) {
	wait := firstBackoff
	for ctx.Err() == nil {
		wasLive, err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if wasLive {
			wait = firstBackoff
		}
		l.engine.metrics.reconnects.Inc()
		l.engine.problem("listener", "not listening, changes arrive by the poll alone: "+explain(err), err)
		if errors.Is(err, errPooler) || errors.Is(err, errElse) {
			wait = configuredBackoff
		}
		select {
		case <-time.After(jittered(wait)):
		case <-ctx.Done():
		}
		wait = min(2*wait, mostBackoff)
	}
}

// jittered is from half of a backoff up to all of it.
func jittered(backoff time.Duration) time.Duration { return backoff/2 + rand.N(backoff/2) }

// restart ends the connection that stands; run makes another. Who sees what it
// was ended for is not to be told that it is live.
func (l *listener) restart(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live.Store(false)
	if l.end != nil {
		l.end(cause)
	}
}

// listen is one connection's life. It returns why it ended, and whether it was
// ever live.
func (l *listener) listen(ctx context.Context) (wasLive bool, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	conn, channel, database, err := l.connect(ctx)
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	l.channel, l.database, l.end = channel, database, end
	l.mu.Unlock()
	l.heard.Store(0)
	// pgxlisten has no deadline for LISTEN itself.
	mute := time.AfterFunc(readTimeout, func() { end(errMute) })
	defer mute.Stop()

	// pgxlisten reconnects by itself and only logs what fails; here the first
	// error of any step ends this connection.
	one := &pgxlisten.Listener{
		Connect: func(context.Context) (*pgx.Conn, error) {
			if conn == nil {
				return nil, errors.New("the connection was used up")
			}
			c := conn
			conn = nil
			return c, nil
		},
		LogError:       func(_ context.Context, err error) { end(without(channel, err)) },
		ReconnectDelay: time.Hour, // never reached: end was called before
	}
	h := &handler{l: l, mute: mute}
	one.Handle(channel, h)
	_ = one.Listen(ctx) // always ctx's error; its cause says more
	l.live.Store(false)
	return h.wasLive, context.Cause(ctx)
}

// without takes what names the channel off an error: the name is a secret, and
// pgxlisten's words hold it.
func without(channel string, err error) error {
	for err != nil && strings.Contains(err.Error(), channel) {
		err = errors.Unwrap(err)
	}
	if err == nil {
		return errors.New("listening failed")
	}
	return err
}

// connect opens a connection, and reads on it the channel's name and which
// database this is.
func (l *listener) connect(ctx context.Context) (_ *pgx.Conn, channel, database string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("no answer within %v", connectTimeout))
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, l.config)
	if err != nil {
		return nil, "", "", fmt.Errorf("connect: %w", err)
	}
	defer func() {
		if err != nil {
			_ = conn.Close(ctx)
		}
	}()
	// The server may be set up to end idle sessions, and a listener is idle by nature.
	if _, err := conn.Exec(ctx, `SET idle_session_timeout = 0`); err != nil {
		return nil, "", "", fmt.Errorf("keep the session from being ended when idle: %w", err)
	}
	var standby bool
	err = conn.QueryRow(ctx, `SELECT h.channel, pg_is_in_recovery(), `+databaseColumn+` FROM public.settings_head h`).Scan(&channel, &standby, &database)
	switch known := l.engine.poller.database.Load(); {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, "", "", errNoHead
	case err != nil:
		return nil, "", "", fmt.Errorf("read the channel's name: %w", err)
	case standby:
		return nil, "", "", errStandby
	case known != nil && *known != database:
		return nil, "", "", errElse
	}
	if err := checkPooler(ctx, conn, l.config); err != nil {
		return nil, "", "", err
	}
	if err := l.engine.member.join(ctx, conn); err != nil {
		return nil, "", "", err
	}
	return conn, channel, database, nil
}

// handler is what pgxlisten calls, on its read loop: nothing here waits for the
// database but the first read.
type handler struct {
	l       *listener
	mute    *time.Timer // ends the connection where LISTEN is not answered
	wasLive bool
}

// HandleBacklog runs right after LISTEN, on the same connection: the full read
// that makes the listener live.
func (h *handler) HandleBacklog(ctx context.Context, _ string, conn *pgx.Conn) error {
	h.mute.Stop()
	reading, cancel := context.WithTimeoutCause(ctx, readTimeout, fmt.Errorf("no answer within %v", readTimeout))
	defer cancel()
	r, err := h.l.engine.read(reading, conn)
	if err != nil {
		return err
	}
	r.heard = true
	h.l.engine.adopt(r)
	h.l.engine.poller.owe()
	h.l.hear(r.revision)
	h.wasLive = true
	h.l.live.Store(true)
	h.l.engine.problem("listener", "", nil)
	return nil
}

// HandleNotification puts a commit in force. A payload that cannot be read
// is no reason to drop the connection: the table is the truth, so it is read.
func (h *handler) HandleNotification(_ context.Context, n *pgconn.Notification, _ *pgx.Conn) error {
	e := h.l.engine
	h.l.count.Add(1)
	c, err := parseNotification(n.Payload)
	if err != nil {
		e.metrics.unreadable.Inc()
		e.poller.refresh()
		return nil
	}
	e.metrics.heard.Inc()
	h.l.hear(c.revision)
	e.apply(c)
	return nil
}

// hear notes the highest revision that this connection told of. Only its own
// goroutine calls it.
func (l *listener) hear(r Revision) {
	if int64(r) > l.heard.Load() {
		l.heard.Store(int64(r))
	}
}

// has says whether the connection that stands told of this revision.
func (l *listener) has(r Revision) bool { return l.heard.Load() >= int64(r) }

// astray says why the connection that stands is not the one to listen on; nil
// if it is.
func (l *listener) astray(h head) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.database != h.database:
		return errElse
	case l.channel != h.channel:
		return errRotated
	}
	return nil
}
