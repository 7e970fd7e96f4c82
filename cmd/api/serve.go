package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"platform-settings/db/migrations"
	"platform-settings/internal/httpx"
	"platform-settings/internal/settings"
)

const (
	// firstTruth is how long a starting pod waits for the database before it
	// serves from its other sources.
	firstTruth = 3 * time.Second

	// migrateAgain is the pause between attempts to migrate a database that cannot
	// be reached.
	migrateAgain = time.Second
)

// serve wires a pod together and runs it until ctx ends. It stops in this order:
// HTTP finishes the requests under way while the engine still runs, then the
// engine stops, and then the pool closes.
func serve(ctx context.Context, c config, log *zap.Logger) error {
	// The names that a DBA sees in pg_stat_activity.
	poolConfig, err := settings.PoolConfig(string(c.DatabaseURL), "platform-settings "+string(c.PodName))
	if err != nil {
		return err // cannot happen: readConfig has parsed it
	}
	listenConfig, err := settings.ListenConfig(string(c.ListenDatabaseURL), "platform-settings listener "+string(c.PodName))
	if err != nil {
		return err
	}
	tokens, err := httpx.LoadTokens(c.AdminTokens, c.AdminTokensFile, log)
	if err != nil {
		return fmt.Errorf("ADMIN_TOKENS_FILE: %w", err)
	}
	var certificate *httpx.Certificate
	if c.TLSCertFile != "" {
		if certificate, err = httpx.LoadCertificate(c.TLSCertFile, c.TLSKeyFile, log); err != nil {
			return fmt.Errorf("TLS_CERT_FILE, TLS_KEY_FILE: %w", err)
		}
	}
	var lines httpx.Lines
	if lines.Public, err = net.Listen("tcp", string(c.ListenAddr)); err != nil {
		return fmt.Errorf("LISTEN_ADDR: %w", err)
	}
	if c.AdminListenAddr != "" {
		if lines.Admin, err = net.Listen("tcp", string(c.AdminListenAddr)); err != nil {
			return fmt.Errorf("ADMIN_LISTEN_ADDR: %w", err)
		}
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), poolConfig)
	if err != nil {
		return err
	}
	defer pool.Close()

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	engine, err := settings.New(settings.Config{
		Pool:         pool,
		Listen:       listenConfig,
		TTL:          time.Duration(c.SettingsTTL),
		Before:       func(ctx context.Context, report func(error)) error { return migrateUntilDone(ctx, c, log, report) },
		LastGoodFile: string(c.LastGoodFile),
		MaxStaleness: time.Duration(c.MaxStaleness),
		Maintenance:  (*bool)(c.MaintenanceMode),
		Pod:          string(c.PodName),
		Build:        build(),
		Log:          log,
		Registerer:   registry,
	})
	if err != nil {
		return err
	}
	server, err := httpx.New(httpx.Config{
		Engine:         engine,
		Tokens:         tokens,
		Certificate:    certificate,
		Upstream:       c.UpstreamURL.URL,
		TrustedProxies: c.TrustedProxies,
		Origins:        httpx.Origins(c.CORSOrigins),
		AdminLine:      lines.Admin != nil,
		MaxConnections: int(c.MaxConnections),
		Pod:            string(c.PodName),
		Log:            log,
		Registry:       registry,
	})
	if err != nil {
		return err
	}

	group, serving := errgroup.WithContext(ctx)
	running, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()
	group.Go(func() error { return engine.Run(running) })
	group.Go(func() error { return tokens.Run(running) })
	if certificate != nil {
		group.Go(func() error { return certificate.Run(running) })
	}
	group.Go(func() error {
		defer stopEngine()
		waiting, cancel := context.WithTimeout(serving, firstTruth)
		if err := engine.Ready(waiting); err != nil && serving.Err() == nil {
			log.Warn("serving before the database was read", zap.String("source", string(engine.Current().Source())))
		}
		cancel()
		address := []zap.Field{zap.Stringer("address", lines.Public.Addr())}
		if lines.Admin != nil {
			address = append(address, zap.Stringer("admin_address", lines.Admin.Addr()))
		}
		log.Info("serving", append(address, zap.Int64("revision", int64(engine.Current().Revision())))...)
		err := server.Serve(serving, lines)
		log.Info("stopped serving")
		return err
	})
	return group.Wait()
}

// build is the binary's version, as the toolchain stamped it: a tag, or the commit.
func build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}

func migrateUp(ctx context.Context, c config, log *zap.Logger) error {
	return migrations.Up(ctx, string(c.DatabaseURL), log)
}

// migrateUntilDone migrates, and retries as long as the database cannot be reached;
// meanwhile the pod serves from its other sources. It returns an error if retrying
// would not help, and nil when ctx ends.
func migrateUntilDone(ctx context.Context, c config, log *zap.Logger, report func(error)) error {
	if c.Migrate == "off" {
		return nil
	}
	for {
		err := migrateUp(ctx, c, log)
		if err == nil || ctx.Err() != nil {
			report(nil)
			return nil
		}
		if !mayPass(err) {
			return err
		}
		report(err)
		select {
		case <-time.After(migrateAgain):
		case <-ctx.Done():
		}
	}
}

// mayPass reports whether a migration failed because the database could not be
// reached or used just now, so that a retry may succeed.
func mayPass(err error) bool {
	if _, dirty := errors.AsType[*migrations.DirtyError](err); dirty {
		return false
	}
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
		return true
	}
	pg, answered := errors.AsType[*pgconn.PgError](err)
	if !answered {
		return true
	}
	switch pg.Code[:2] {
	case "08", "53", "55", "57": // connection, resources, locks, shutdown (manual, Appendix A)
		return true
	}
	return pg.Code == "25006" // a standby; it may be promoted
}
