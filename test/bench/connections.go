package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// traffic is how many bytes a fleet's connections carried, by their purpose.
type traffic struct{ listener, poller carried }

// carried is in bytes, as seen by the pods, without TCP's overhead.
type carried struct{ in, out atomic.Int64 }

// counting counts the bytes of the connections that dial makes.
func (c *carried) counting(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &countedConn{conn, c}, nil
	}
}

type countedConn struct {
	net.Conn
	*carried
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.out.Add(int64(n))
	return n, err
}

const (
	connectedPods    = 100
	connectedChanges = 50
)

// connections measures what a pod's connections cost: bytes for a change, and memory of
// PostgreSQL, which has a process for each connection.
func connections(ctx context.Context, r *report, o options) error {
	server, err := startPostgres(ctx, 2*connectedPods+50, nil)
	if err != nil {
		return err
	}
	defer stopPostgres(server)
	url, err := migrated(ctx, server)
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `INSERT INTO platform_settings (key, value_text)
		SELECT 'setting_' || i, 'value ' || i FROM generate_series(1, $1 - (SELECT count(*) FROM platform_settings)) i`, settingsCount); err != nil {
		return err
	}
	listener, poller, err := traffics(ctx, url, conn)
	if err != nil {
		return err
	}

	// Measure memory after each connection has done its work: reads, changes, polls.
	const ttl = 500 * time.Millisecond
	f := &fleet{url: url, names: true, ttl: ttl}
	defer f.stop()
	if err := f.grow(ctx, connectedPods); err != nil {
		return err
	}
	if err := changes(ctx, conn); err != nil {
		return err
	}
	time.Sleep(3 * ttl)
	s := r.section("connections", fmt.Sprintf("What a pod's connections cost, of %d pods with %d settings. KiB of PostgreSQL's for one, the median: of its process alone; with its share of what processes share; and page tables, which come on top. Bytes of a change on the wire, for one pod, without TCP's own: the listener's is the notification, the poller's the acknowledgement.", connectedPods, settingsCount),
		"connection", "of a pod", "private KiB", "with its share", "page tables", "bytes to the pod", "from the pod")
	for _, of := range []struct {
		what, name string
		bytes      flow
	}{{"listener", "listener of pod-%", listener}, {"poller", "pool of pod-%", poller}} {
		m, err := memory(ctx, conn, of.name)
		if err != nil {
			return err
		}
		s.row(of.what, round(float64(m.backends)/connectedPods, 2), m.private, m.proportional, m.tables, round(of.bytes.in, 1), round(of.bytes.out, 1))
	}
	var most float64
	if err := conn.QueryRow(ctx, `SELECT max_val::float8 FROM pg_settings WHERE name = 'max_connections'`).Scan(&most); err != nil {
		return err
	}
	r.section("limits", "The highest values that PostgreSQL accepts.", "setting", "most").row("max_connections", most)
	return nil
}

// changes makes some changes, each after all pods have acknowledged the one before.
func changes(ctx context.Context, conn *pgx.Conn) error {
	for range connectedChanges {
		if _, err := conn.Exec(ctx, `UPDATE platform_settings SET value_int = value_int + 1 WHERE key = 'bench'`); err != nil {
			return err
		}
		if err := converged(ctx, conn); err != nil {
			return err
		}
	}
	return nil
}

// flow is the bytes for one pod and change, in each direction.
type flow struct{ in, out float64 }

// traffics measures the bytes that a change sends. Nothing polls meanwhile, so the
// poller's connection carries only the acknowledgement.
func traffics(ctx context.Context, url string, conn *pgx.Conn) (listener, poller flow, err error) {
	t := &traffic{}
	f := &fleet{url: url, names: true, ttl: never, wire: t}
	defer f.stop()
	if err := f.grow(ctx, connectedPods); err != nil {
		return flow{}, flow{}, err
	}
	if err := converged(ctx, conn); err != nil {
		return flow{}, flow{}, err
	}
	now := func(c *carried) flow { return flow{float64(c.in.Load()), float64(c.out.Load())} }
	listening, polling := now(&t.listener), now(&t.poller)
	if err := changes(ctx, conn); err != nil {
		return flow{}, flow{}, err
	}
	share := func(c *carried, before flow) flow {
		const each = connectedPods * connectedChanges
		return flow{(now(c).in - before.in) / each, (now(c).out - before.out) / each}
	}
	return share(&t.listener, listening), share(&t.poller, polling), nil
}

// held is the memory of one backend, the median of several, in KiB.
type held struct {
	backends                      int
	private, proportional, tables float64
}

// memory is the memory of the backends whose application_name is LIKE this.
func memory(ctx context.Context, conn *pgx.Conn, name string) (held, error) {
	rows, err := conn.Query(ctx, `SELECT pid FROM pg_stat_activity WHERE application_name LIKE $1`, name)
	if err != nil {
		return held{}, err
	}
	backends, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return held{}, err
	}
	var private, proportional, tables []float64
	for _, pid := range backends {
		var kib [4]float64
		for i, figure := range [][2]string{{"smaps_rollup", "Private_Clean"}, {"smaps_rollup", "Private_Dirty"}, {"smaps_rollup", "Pss"}, {"status", "VmPTE"}} {
			if kib[i], err = kilobytes(pid, figure[0], figure[1]); err != nil {
				return held{}, err
			}
		}
		private, proportional, tables = append(private, kib[0]+kib[1]), append(proportional, kib[2]), append(tables, kib[3])
	}
	return held{len(backends), median(private), median(proportional), median(tables)}, nil
}
