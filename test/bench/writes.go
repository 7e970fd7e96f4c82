package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"platform-settings/internal/httpx"
)

// token is the admin token of the pods here.
const token = "admin-token-0123456789-0123456789"

// writers is how many write at once.
const writers = 4

// site is a fleet, one of whose pods serves HTTP.
type site struct {
	fleet
	address string
	client  *http.Client
	close   func()
}

// openSite starts a pod on a database, and serves HTTP on it.
func openSite(ctx context.Context, url string, ttl time.Duration) (*site, error) {
	s := &site{fleet: fleet{url: url, names: true, ttl: ttl}}
	if err := s.grow(ctx, 1); err != nil {
		return nil, err
	}
	fixed, err := httpx.ParseTokens("ada:admin:" + token)
	if err != nil {
		return nil, err
	}
	tokens, err := httpx.LoadTokens(fixed, "", nil)
	if err != nil {
		return nil, err
	}
	served, err := httpx.New(httpx.Config{
		Engine: s.pods[0].Engine, Tokens: tokens, Pod: "pod-0000", Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: served.Handler()}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	s.address = "http://" + l.Addr().String()
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * writers}, Timeout: patience}
	s.close = func() {
		s.client.CloseIdleConnections()
		_ = server.Close()
		wg.Wait()
		s.stop()
	}
	return s, nil
}

// put sets an int setting over HTTP; prefer may be empty.
func (s *site) put(ctx context.Context, key string, value int64, prefer string) (status int, err error) {
	body := fmt.Appendf(nil, `{"value":%d,"kind":"int"}`, value)
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, s.address+"/api/v1/admin/settings/"+key, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	if prefer != "" {
		request.Header.Set("Prefer", prefer)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("PUT %s: %d: %s", key, response.StatusCode, answer)
	}
	return response.StatusCode, err
}

// rate lets writers write at once for a while, and returns the writes per second and
// how long each took.
func rate(ctx context.Context, span time.Duration, write func(ctx context.Context, writer int, value int64) error) (perSecond float64, took sample, err error) {
	var (
		wg    sync.WaitGroup
		value atomic.Int64
		times [writers]sample
		errs  [writers]error
	)
	began := time.Now()
	for w := range writers {
		wg.Go(func() {
			for time.Since(began) < span && errs[w] == nil {
				start := time.Now()
				errs[w] = write(ctx, w, value.Add(1))
				times[w] = append(times[w], time.Since(start))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	for _, t := range times {
		took = append(took, t...)
	}
	return math.Round(float64(len(took)) / elapsed.Seconds()), took, errors.Join(errs[:]...)
}

// writing measures writes per second, by how they are made and by how many pods
// listen, and where the database's time goes.
func writing(ctx context.Context, r *report, o options) error {
	server, err := startPostgres(ctx, 400, map[string]string{"track_functions": "all", "track_wal_io_timing": "on"})
	if err != nil {
		return err
	}
	defer stopPostgres(server)
	url, err := migrated(ctx, server)
	if err != nil {
		return err
	}
	keys := make([]string, writers)
	statements := []string{
		`CREATE TABLE bare (LIKE platform_settings INCLUDING ALL)`,
		`INSERT INTO bare SELECT * FROM platform_settings`,
	}
	for i := range keys {
		keys[i] = fmt.Sprintf("bench_%d", i)
		for _, table := range []string{"platform_settings", "bare"} {
			statements = append(statements, fmt.Sprintf(`INSERT INTO %s (key, value_int) VALUES ('%s', 0)`, table, keys[i]))
		}
	}
	if err := run(ctx, url, statements...); err != nil {
		return err
	}
	conns := make([]*pgx.Conn, writers)
	for i := range conns {
		if conns[i], err = pgx.Connect(ctx, url); err != nil {
			return err
		}
		defer conns[i].Close(context.WithoutCancel(ctx))
	}
	s, err := openSite(ctx, url, never)
	if err != nil {
		return err
	}
	defer s.close()

	table := r.section("writes", fmt.Sprintf("Writes a second by %d writers at once, and how long one takes; ms. Durable. Without triggers: the same columns and constraints, but no notification.", writers),
		"write", "keys", "pods that listen", "per second", "p50", "p99")
	sql := func(name string) func(bool) func(context.Context, int, int64) error {
		return func(one bool) func(context.Context, int, int64) error {
			return func(ctx context.Context, w int, value int64) error {
				key := keys[w]
				if one {
					key = keys[0]
				}
				_, err := conns[w].Exec(ctx, `UPDATE `+name+` SET value_int = $1 WHERE key = $2`, value, key)
				return err
			}
		}
	}
	put := func(one bool) func(context.Context, int, int64) error {
		return func(ctx context.Context, w int, value int64) error {
			key := keys[w]
			if one {
				key = keys[0]
			}
			_, err := s.put(ctx, key, value, "")
			return err
		}
	}
	parts := r.section("where a write's time goes", "UPDATEs by one connection; µs for each write. The functions' time is their own, without what they call.",
		"pods that listen", "where", "µs a write", "calls a write")
	// One pod serves the PUTs, and listens.
	for _, listeners := range []int{1, 10, 100} {
		if o.quick && listeners == 100 {
			continue
		}
		if err := s.grow(ctx, listeners); err != nil {
			return err
		}
		for _, way := range []struct {
			name  string
			write func(one bool) func(context.Context, int, int64) error
		}{
			{"SQL without triggers", sql("bare")}, {"SQL", sql("platform_settings")}, {"PUT", put},
		} {
			if way.name == "SQL without triggers" && listeners > 1 {
				continue // no pod is notified
			}
			for _, one := range []bool{true, false} {
				number := map[bool]int{true: 1, false: len(keys)}[one]
				if _, _, err := rate(ctx, o.measure/10, way.write(one)); err != nil { // a warm-up
					return err
				}
				perSecond, took, err := rate(ctx, o.measure, way.write(one))
				if err != nil {
					return err
				}
				table.row(way.name, number, listeners, perSecond, milliseconds(took.p50()), milliseconds(took.p99()))
				if err := converged(ctx, conns[0]); err != nil {
					return err
				}
			}
		}
		if err := whereTimeGoes(ctx, parts, listeners, conns[0]); err != nil {
			return err
		}
	}
	return nil
}

// whereTimeGoes lets a single connection write, and breaks down its time by the
// database's own counters.
func whereTimeGoes(ctx context.Context, s *section, pods int, conn *pgx.Conn) error {
	const writes = 300
	if _, err := conn.Exec(ctx, `SELECT pg_stat_reset(), pg_stat_reset_shared('wal')`); err != nil {
		return err
	}
	began := time.Now()
	for i := range writes {
		if _, err := conn.Exec(ctx, `UPDATE platform_settings SET value_int = $1 WHERE key = 'bench_0'`, -i-1); err != nil {
			return err
		}
	}
	elapsed := time.Since(began)
	s.row(pods, "all, as the client sees it", round(elapsed.Seconds()*1e6/writes, 1), 1.0)
	// Backends report at most once a second, and when they end.
	if _, err := conn.Exec(ctx, `SELECT pg_sleep(1.1), pg_stat_force_next_flush()`); err != nil {
		return err
	}
	rows, err := conn.Query(ctx, `SELECT funcname, self_time * 1000, calls FROM pg_stat_user_functions WHERE calls >= $1 AND funcname NOT IN ('settings_acknowledge', 'settings_check_in') ORDER BY self_time DESC`, writes/2)
	if err != nil {
		return err
	}
	var (
		name  string
		self  float64
		calls int64
	)
	if _, err := pgx.ForEachRow(rows, []any{&name, &self, &calls}, func() error {
		s.row(pods, name+"()", round(self/writes, 1), round(float64(calls)/writes, 2))
		return nil
	}); err != nil {
		return err
	}
	var synced, wrote float64
	var syncs int64
	if err := conn.QueryRow(ctx, `SELECT wal_sync_time * 1000, wal_write_time * 1000, wal_sync FROM pg_stat_wal`).Scan(&synced, &wrote, &syncs); err != nil {
		return err
	}
	s.row(pods, "fsync of the log", round(synced/writes, 1), round(float64(syncs)/writes, 2))
	s.row(pods, "write of the log", round(wrote/writes, 1), round(float64(syncs)/writes, 2))
	return nil
}
