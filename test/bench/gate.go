package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	_ "unsafe" // for go:linkname

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"platform-settings/internal/httpx"
	"platform-settings/internal/settings"
)

// gate is the product's own middleware, which is not exported. A copy of it here would
// stay fast even if the product's became slow.
//
//go:linkname gate platform-settings/internal/httpx.(*Server).gate
func gate(s *httpx.Server, next echo.HandlerFunc) echo.HandlerFunc

// passing is one way of a request through the pod.
type passing struct {
	what, way string
	pass      func(n int) int64
}

// openPassings makes passings with the gate open, because maintenance is off.
func openPassings(ctx context.Context) ([]passing, func(), error) {
	config, err := settings.PoolConfig("postgres://127.0.0.1/unused", "bench") // nothing connects: the engine does not run
	if err != nil {
		return nil, nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	engine, err := settings.New(settings.Config{Pool: pool})
	if err != nil {
		return nil, nil, err
	}
	server, err := httpx.New(httpx.Config{Engine: engine, Registry: prometheus.NewRegistry()})
	if err != nil {
		return nil, nil, err
	}
	passed := int64(0)
	handler := func(echo.Context) error { passed++; return nil }

	e := echo.New()
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	inEcho := e.NewContext(request, nowhere{})
	alone := func(h echo.HandlerFunc) func(int) int64 {
		return func(n int) int64 {
			for range n {
				_ = h(inEcho)
			}
			return passed
		}
	}
	routed := func(h echo.HandlerFunc) func(int) int64 {
		e := echo.New()
		e.RouteNotFound("/", h) // like the product's routes, which wrap each handler once
		return func(n int) int64 {
			for range n {
				e.ServeHTTP(nowhere{}, request)
			}
			return passed
		}
	}
	product := server.Handler()
	return []passing{
		{"the handler", "without the gate", alone(handler)},
		{"the handler", "with", alone(gate(server, handler))},
		{"through Echo", "without the gate", routed(handler)},
		{"through Echo", "with", routed(gate(server, handler))},
		{"the product's whole request", "with", func(n int) int64 {
			for range n {
				product.ServeHTTP(nowhere{http.Header{}}, request)
			}
			return passed
		}},
	}, pool.Close, nil
}

// nowhere discards answers.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// gating measures what the gate costs a request that passes.
func gating(ctx context.Context, r *report, o options) error {
	passings, stop, err := openPassings(ctx)
	if err != nil {
		return err
	}
	defer stop()
	const repeats = 9
	times := make([][]float64, len(passings))
	for range repeats {
		for i, p := range passings {
			times[i] = append(times[i], cost(p.pass, enough(p.pass, o.measure/50), 1))
		}
	}
	s := r.section("the gate", "A request that passes; ns, the median of runs in turn. No network. The product's whole request has a request id, log, metrics, and the landing page.",
		"what", "gate", "ns", "bytes", "allocations")
	var objects [5]float64
	for i, p := range passings {
		bytes, allocated := allocations(p.pass)
		objects[i] = allocated
		s.row(p.what, p.way, round(median(times[i]), 1), bytes, allocated)
	}
	r.reach("the gate on a request that passes", 50, round(median(times[3])-median(times[2]), 1), "ns over no gate, through Echo")
	r.reach("the gate's allocations", 0, round(max(objects[1]-objects[0], objects[3]-objects[2]), 1), "")
	return nil
}
