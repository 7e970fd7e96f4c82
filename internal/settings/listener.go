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
	"github.com/jackc/pgxlisten"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"platform-settings/settings"
)

// Backoffs of the listener and the poller, before jitter. Each doubles the one before.
const (
	firstBackoff = 20 * time.Millisecond
	mostBackoff  = time.Second

	// configuredBackoff is for faults that last until somebody changes a configuration.
	configuredBackoff = 30 * time.Second
)

// Reasons why a pod ends its own listener's connection.
var (
	errWentBack = errors.New("the database went back")
	errDeaf     = errors.New("the poll found a commit that the listener never announced")
	errRotated  = errors.New("the channel has another name now")
	errMute     = errors.New("LISTEN was not answered in time")
	errElse     = errors.New("LISTEN_DATABASE_URL leads to another database than DATABASE_URL")
)

// listener hears commits and hands them to the keeper. Each connection is a
// pgxlisten.Listener of its own, because the channel's name is read again on each.
type listener struct {
	config   *pgx.ConnConfig
	keeper   *settings.Keeper
	register *register
	acks     *acknowledger
	looks    level                   // asks the poller to look
	database *atomic.Pointer[string] // the one that the poll reads; see head. nil: not known
	counts   listenerCounts

	live  atomic.Bool  // LISTEN and a full read after it have succeeded on the current connection
	heard atomic.Int64 // the highest revision that this connection has brought, by its read or a notification
	count atomic.Int64 // notifications, including unreadable ones

	leeway leeway // used by run only

	mu      sync.Mutex
	channel string                  // the current connection's
	leadsTo string                  // the current connection's database
	end     context.CancelCauseFunc // ends the current connection
}

type listenerCounts struct {
	commits, old, gaps, unreadable prometheus.Counter
	ended, reads                   prometheus.Counter
	restarts                       *prometheus.CounterVec
}

func countListener(f promauto.Factory, reads prometheus.Counter) listenerCounts {
	notifications := f.NewCounterVec(prometheus.CounterOpts{
		Name: "settings_notifications_total",
		Help: "Notifications: commit (all readable ones), of these old or gap (not the next revision, or too large to carry); unreadable.",
	}, []string{"result"})
	c := listenerCounts{
		commits:    notifications.WithLabelValues("commit"),
		old:        notifications.WithLabelValues("old"),
		gaps:       notifications.WithLabelValues("gap"),
		unreadable: notifications.WithLabelValues("unreadable"),
		ended: f.NewCounter(prometheus.CounterOpts{
			Name: "settings_listener_ended_total", Help: "Listener connections that ended or could not be made.",
		}),
		reads: reads,
		restarts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "settings_listener_restarts_total",
			Help: "Listener connections that this pod ended itself: deaf (it never announced a commit), rotated (the channel's name), elsewhere (another database), went_back (the database lost commits).",
		}, []string{"cause"}),
	}
	for _, cause := range restartCauses {
		c.restarts.WithLabelValues(cause)
	}
	return c
}

var restartCauses = map[error]string{errDeaf: "deaf", errRotated: "rotated", errElse: "elsewhere", errWentBack: "went_back"}

// run connects and listens until ctx ends. Only a connection that became live resets
// the backoff, so that a server that accepts connections and then fails is not flooded
// with them.
func (l *listener) run(ctx context.Context) {
	wait := firstBackoff
	for ctx.Err() == nil {
		wasLive, err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if l.leeway.learn(err); wasLive {
			wait, l.leeway = firstBackoff, leeway{}
		}
		l.counts.ended.Inc()
		l.keeper.Problem("listener", "not listening, changes arrive by the poll alone: "+explain(err), err)
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

// jittered is a random time from half of a backoff to all of it.
func jittered(backoff time.Duration) time.Duration { return backoff/2 + rand.N(backoff/2) }

// restart ends the current connection; run makes another. It clears live first, so
// that nobody who sees the cause still sees a live listener. A nil listener has
// nothing to restart.
func (l *listener) restart(cause error) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live.Store(false)
	l.counts.restarts.WithLabelValues(restartCauses[cause]).Inc()
	if l.end != nil {
		l.end(cause)
	}
}

// hears says whether the listener is live. A nil listener is not.
func (l *listener) hears() bool { return l != nil && l.live.Load() }

// listen makes one connection, and listens until it ends. It returns why it ended, and
// whether it ever was live.
func (l *listener) listen(ctx context.Context) (wasLive bool, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	conn, channel, database, err := l.connect(ctx)
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	l.channel, l.leadsTo, l.end = channel, database, end
	l.mu.Unlock()
	l.heard.Store(0)
	// pgxlisten has no deadline for LISTEN itself.
	mute := time.AfterFunc(l.leeway.of(readTimeout), func() { end(errMute) })
	defer mute.Stop()

	// By itself, pgxlisten would log errors and reconnect. Here the first error of any
	// step ends this connection, because run reads the channel's name again.
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
		ReconnectDelay: time.Hour, // never reached, because end has been called by then
	}
	h := &handler{l: l, mute: mute}
	one.Handle(channel, h)
	_ = one.Listen(ctx) // returns ctx's error; the cause says more
	l.live.Store(false)
	return h.wasLive, context.Cause(ctx)
}

// without unwraps an error until its text no longer holds the channel's name.
// pgxlisten's errors do, and the name is a secret.
func without(channel string, err error) error {
	for err != nil && strings.Contains(err.Error(), channel) {
		err = errors.Unwrap(err)
	}
	if err == nil {
		return errors.New("listening failed")
	}
	return err
}

// connect makes a connection, checks that it leads to the right server, and joins the
// register. It returns the channel's name and the database's identity too.
func (l *listener) connect(ctx context.Context) (_ *pgx.Conn, channel, database string, err error) {
	ctx, cancel := timeout(ctx, l.leeway.of(connectTimeout))
	defer cancel()
	conn, err := connect(ctx, l.config)
	if err != nil {
		return nil, "", "", err
	}
	defer func() {
		if err != nil {
			_ = conn.Close(ctx)
		}
	}()
	// A server may be configured to end idle sessions, and a listener is always idle
	// (PostgreSQL manual, 20.11 Client Connection Defaults).
	if _, err := conn.Exec(ctx, `SET idle_session_timeout = 0`); err != nil {
		return nil, "", "", fmt.Errorf("keep the session from being ended when idle: %w", err)
	}
	var standby bool
	err = conn.QueryRow(ctx, `SELECT h.channel, pg_is_in_recovery(), `+databaseColumn+` FROM public.settings_head h`).Scan(&channel, &standby, &database)
	switch known := l.database.Load(); {
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
	if err := l.register.join(ctx, conn); err != nil {
		return nil, "", "", err
	}
	return conn, channel, database, nil
}

// hear records the highest revision that this connection has brought. Only the
// connection's own goroutine calls it.
func (l *listener) hear(r settings.Revision) {
	if int64(r) > l.heard.Load() {
		l.heard.Store(int64(r))
	}
}

// has says whether the current connection has brought this revision.
func (l *listener) has(r settings.Revision) bool { return l.heard.Load() >= int64(r) }

// astray says why the current connection is the wrong one to listen on; nil if it is not.
func (l *listener) astray(h head) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.leadsTo != h.database:
		return errElse
	case l.channel != h.channel:
		return errRotated
	}
	return nil
}
