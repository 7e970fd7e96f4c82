package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// waiting measures `Prefer: wait`: from before a PUT is sent until its 200, which says
// that every pod of the fleet has it in force.
func waiting(ctx context.Context, r *report, o options) error {
	server, err := startPostgres(ctx, 800, nil)
	if err != nil {
		return err
	}
	defer stopPostgres(server)
	url, err := migrated(ctx, server)
	if err != nil {
		return err
	}
	s, err := openSite(ctx, url, 10*time.Second)
	if err != nil {
		return err
	}
	defer s.close()
	table := r.section("waiting for the fleet", "PUT with Prefer: wait=10 until 200: in force on every pod, as each pod reports; ms. Meanwhile the pods poll every 10 s.",
		"pods", "p50", "p99", "max", "writes")
	sizes, writes := []int{10, 100, 300}, 100
	if o.quick {
		sizes, writes = []int{10, 100}, 20
	}
	for _, n := range sizes {
		if err := s.grow(ctx, n); err != nil {
			return err
		}
		var took sample
		for i := range writes + writes/10 {
			began := time.Now()
			status, err := s.put(ctx, "bench", int64(n*1000+i), "wait=10")
			if err != nil {
				return err
			}
			if status != http.StatusOK {
				return fmt.Errorf("a PUT that waited for %d pods answered %d", n, status)
			}
			if i >= writes/10 {
				took = append(took, time.Since(began))
			}
		}
		table.row(n, milliseconds(took.p50()), milliseconds(took.p99()), milliseconds(took.max()), len(took))
		if n == 100 {
			r.reach("Prefer: wait over 100 pods, p50", 50, milliseconds(took.p50()), "ms")
		}
	}
	return nil
}
