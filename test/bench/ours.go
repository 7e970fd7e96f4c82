package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"platform-settings/internal/pgserver"
	source "platform-settings/internal/settings"
	"platform-settings/settings"
)

const ourWrite = `UPDATE platform_settings SET value_int = $1 WHERE key = 'bench'`

// never is a TTL that no run reaches, so every change comes from the listener. The
// cost of polls is measured separately.
const never = time.Hour

// pod is a running engine, configured as in cmd/api.
type pod struct {
	*source.Engine
	registry *prometheus.Registry
	bench    settings.Int // the handle on what the benchmarks write
	heard    func(*pod)   // runs on the listener's goroutine, each time it is about to wait for more; may be nil
	stop     func()       // waits until it has stopped
}

// startPod starts a pod. Without a name it takes no part in the fleet's register. If
// there is a traffic, the bytes of its connections are counted there.
func startPod(ctx context.Context, url, name string, ttl time.Duration, t *traffic, heard func(*pod)) (*pod, error) {
	poolConfig, err := source.PoolConfig(url, "pool of "+name)
	if err != nil {
		return nil, err
	}
	listen, err := source.ListenConfig(url, "listener of "+name)
	if err != nil {
		return nil, err
	}
	if t != nil {
		poolConfig.ConnConfig.DialFunc = t.poller.counting(poolConfig.ConnConfig.DialFunc)
		listen.DialFunc = t.listener.counting(listen.DialFunc)
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	pool, err := pgxpool.NewWithConfig(running, poolConfig)
	if err != nil {
		cancel()
		return nil, err
	}
	p := &pod{registry: prometheus.NewRegistry(), heard: heard}
	listen.DialFunc = p.returning(listen.DialFunc)
	p.Engine, err = source.New(source.Config{
		Pool: pool, Listen: listen, TTL: ttl, Pod: name, Build: "bench", Registerer: p.registry,
	})
	if err != nil {
		cancel()
		pool.Close()
		return nil, err
	}
	p.bench = p.Int("bench", -1)
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.Run(running) })
	p.stop = func() { cancel(); wg.Wait(); pool.Close() }
	return p, nil
}

// returning calls the pod's heard whenever its listener reads from a connection that
// dial made, because whatever it read before is in force by then.
func (p *pod) returning(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &returningConn{conn, p}, nil
	}
}

type returningConn struct {
	net.Conn
	*pod
}

func (c *returningConn) Read(b []byte) (int, error) {
	if c.heard != nil {
		c.heard(c.pod)
	}
	return c.Conn.Read(b)
}

// live waits until the pod has read the database and listens.
func (p *pod) live(ctx context.Context) error {
	return until(ctx, "a pod is live", func() (bool, error) {
		return p.Current().Source() == settings.SourceDatabase && p.Status().Listener == "live", nil
	})
}

// until polls a condition.
func until(ctx context.Context, what string, ok func() (bool, error)) error {
	return untilEach(ctx, time.Millisecond, what, ok)
}

func untilEach(ctx context.Context, pause time.Duration, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("never saw: %s", what))
	defer cancel()
	for {
		done, err := ok()
		if done || err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// fleet is several pods in this process on one database, each with connections of its
// own.
type fleet struct {
	url   string
	names bool // they take part in the register
	ttl   time.Duration
	wire  *traffic            // nil: not counted
	heard func(n int, p *pod) // see pod.heard, with the pod's number; may be nil
	pods  []*pod
}

// grow brings the fleet up to n pods that are live.
func (f *fleet) grow(ctx context.Context, n int) error {
	for len(f.pods) < n {
		from := len(f.pods)
		for range min(n-from, 25) { // at once: each makes two connections
			name := ""
			if f.names {
				name = fmt.Sprintf("pod-%04d", len(f.pods))
			}
			var heard func(*pod)
			if n := len(f.pods); f.heard != nil {
				heard = func(p *pod) { f.heard(n, p) }
			}
			p, err := startPod(ctx, f.url, name, f.ttl, f.wire, heard)
			if err != nil {
				return err
			}
			f.pods = append(f.pods, p)
		}
		for _, p := range f.pods[from:] {
			if err := p.live(ctx); err != nil {
				return err
			}
		}
	}
	if f.names {
		f.acquaint(ctx)
	}
	return ctx.Err()
}

// acquaint lets each pod poll, as it would within a TTL, some at a time. From then on
// it knows how large the fleet is, and spreads its acknowledgements accordingly.
func (f *fleet) acquaint(ctx context.Context) {
	for some := range slices.Chunk(f.pods, 25) {
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		var wg sync.WaitGroup
		for _, p := range some {
			wg.Go(func() { _ = p.Await(ctx, p.Current().Revision()+1) }) // this revision never comes, so the pod polls
		}
		wg.Wait()
		cancel()
	}
}

// stop stops all at once.
func (f *fleet) stop() {
	var wg sync.WaitGroup
	for _, p := range f.pods {
		wg.Go(p.stop)
	}
	wg.Wait()
	f.pods = nil
}

// converged waits until each pod in the register has acknowledged the last revision.
// It asks seldom, because its queries cost the server processor time too.
func converged(ctx context.Context, conn *pgx.Conn) error {
	return untilEach(ctx, 10*time.Millisecond, "all pods acknowledge", func() (all bool, err error) {
		err = conn.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM settings_pods p, settings_head h WHERE p.revision IS DISTINCT FROM h.revision)`).Scan(&all)
		return all, err
	})
}

// ours is the product: its schema, and engines.
type ours struct {
	server *pgserver.Server
	writer *pgx.Conn
	fleet  fleet
	saw    seen

	watched  bool
	watching context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

// openOurs starts pods that report to the fleet's register after each commit, as in
// cmd/api.
func openOurs(ctx context.Context, saw seen) (system, error) {
	return openFleet(ctx, saw, true, false)
}

// openUnregistered starts pods that do not.
func openUnregistered(ctx context.Context, saw seen) (system, error) {
	return openFleet(ctx, saw, false, false)
}

// openWatched starts such pods, and signs for each on a goroutine that waits for the
// snapshot, as a pod's own streams do.
func openWatched(ctx context.Context, saw seen) (system, error) {
	return openFleet(ctx, saw, false, true)
}

func openFleet(ctx context.Context, saw seen, registered, watched bool) (_ system, err error) {
	server, err := startPostgres(ctx, 2*maxWatchers+50, nil)
	if err != nil {
		return nil, err
	}
	o := &ours{server: server, saw: saw, watched: watched}
	defer func() {
		if err != nil {
			stopPostgres(server)
		}
	}()
	url, err := migrated(ctx, server)
	if err != nil {
		return nil, err
	}
	if o.writer, err = pgx.Connect(ctx, url); err != nil {
		return nil, err
	}
	if err = o.awaited(ctx, true); err != nil {
		return nil, err
	}
	o.fleet = fleet{url: url, names: registered, ttl: never}
	if !watched {
		o.fleet.heard = func(n int, p *pod) { saw(n, p.bench.Value()) }
	}
	o.watching, o.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return o, nil
}

// watch signs for the value that any reader would read, through a typed handle. It
// does so on the goroutine that hears it, like the others' handlers, or one wake-up
// later.
func (o *ours) watch(ctx context.Context, n int) error {
	from := len(o.fleet.pods)
	if err := o.fleet.grow(ctx, n); err != nil {
		return err
	}
	if o.watched {
		for i, p := range o.fleet.pods[from:] {
			o.wg.Go(func() {
				for s := range p.Watch(o.watching) {
					o.saw(from+i, p.bench.In(s))
				}
			})
		}
	}
	return o.settle(ctx)
}

func (o *ours) write(ctx context.Context, value int64) error {
	_, err := o.writer.Exec(ctx, ourWrite, value)
	return err
}

// awaited sets whether somebody waits for the acknowledgement of each change. If so,
// pods acknowledge at once. In the race, settle waits.
func (o *ours) awaited(ctx context.Context, is bool) error {
	_, err := o.writer.Exec(ctx, `SELECT set_config('settings.wait', $1, false)`, strconv.FormatBool(is))
	return err
}

// settle waits for the pods' acknowledgements.
func (o *ours) settle(ctx context.Context) error {
	if !o.fleet.names {
		return nil
	}
	return converged(ctx, o.writer)
}

func (o *ours) process() int { return o.server.PID() }

func (o *ours) close() {
	o.cancel()
	o.wg.Wait()
	o.fleet.stop()
	_ = o.writer.Close(context.Background())
	stopPostgres(o.server)
}
