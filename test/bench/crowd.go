package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"platform-settings/internal/pgserver"
)

// tokenNames is how many names the pod's tokens have. Waits are limited for each name.
const tokenNames = 10

func tokenOf(name int) string { return fmt.Sprintf("crowd-token-%04d-0123456789-0123456789", name) }

// crowded is a pod as a process of its own that many callers use at once.
type crowded struct {
	*process
	binary string
	server *pgserver.Server
	url    string
	client *http.Client
	remove func()
}

// openCrowded starts a pod whose gate is closed.
func openCrowded(ctx context.Context) (_ *crowded, err error) {
	c := &crowded{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: maxWatchers}, Timeout: 2 * patience}}
	if c.binary, c.remove, err = buildPod(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.server, err = startPostgres(ctx, 50, map[string]string{"shared_preload_libraries": "pg_stat_statements"}); err != nil {
		return nil, err
	}
	if c.url, err = migrated(ctx, c.server); err != nil {
		return nil, err
	}
	if err = run(ctx, c.url, `CREATE EXTENSION pg_stat_statements`); err != nil {
		return nil, err
	}
	if err = c.again(ctx); err != nil {
		return nil, err
	}
	_, err = c.throw(ctx, 0)
	return c, err
}

// again restarts the pod's process.
func (c *crowded) again(ctx context.Context) (err error) {
	if c.process != nil {
		c.process.stop()
	}
	var tokens []string
	for n := range tokenNames {
		tokens = append(tokens, fmt.Sprintf("name-%d:admin:%s", n, tokenOf(n)))
	}
	c.process, err = startProcess(ctx, c.binary, c.url, "ADMIN_TOKENS="+strings.Join(tokens, ","))
	return err
}

func (c *crowded) close() {
	c.client.CloseIdleConnections()
	if c.process != nil {
		c.process.stop()
	}
	if c.server != nil {
		stopPostgres(c.server)
	}
	c.remove()
}

// crowding measures what many slow callers can do to a pod.
func crowding(ctx context.Context, r *report, o options) error {
	c, err := openCrowded(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	for _, part := range []func(context.Context, *report, options, *crowded) error{refusing, switching, awaiting, sticking} {
		if err := part(ctx, r, o, c); err != nil {
			return err
		}
	}
	return nil
}

// crowdGuards are the figures among these that must not get worse.
func crowdGuards(c *crowded) []guard {
	return []guard{
		{"503 while the body does not come, × a GET's", 3, func(ctx context.Context) (float64, error) {
			times, err := c.refusals(ctx, 50)
			if err != nil {
				return 0, err
			}
			worst := 0.0
			for i := range bodies {
				if bodies[i].late {
					worst = max(worst, float64(times[i].p50())/float64(times[0].p50()))
				}
			}
			return worst, nil
		}},
		{"the switch among 1,000 who were refused, ms", 100, func(ctx context.Context) (float64, error) {
			s, err := c.amongRefused(ctx, 30)
			return milliseconds(max(s.throws.p50(), s.asks.p50())), err
		}},
		{"looks at the register for 1,000 waits, × for one", 1.5, func(ctx context.Context) (float64, error) {
			one, err := c.looks(ctx, 1)
			if err != nil {
				return 0, err
			}
			all, err := c.looks(ctx, maxWatchers)
			return all / one, err
		}},
		{"MiB for 300 who stop reading 2.6 MB", 64, func(ctx context.Context) (float64, error) {
			mib, _, err := c.stuck(ctx, "/api/v1/settings")
			return mib, err
		}},
	}
}
