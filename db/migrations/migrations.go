// Package migrations holds the schema as numbered SQL files, embedded, and
// brings a database to it with golang-migrate.
//
// One file is one transaction. Each may be run again on a database that has
// it. db/schema.sql is a dump of what they add up to.
package migrations

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	driver "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/zap"
)

//go:embed *.sql
var files embed.FS

// lockWait is how long a pod waits for another one that is migrating. The
// library waits on an advisory lock without a deadline; PostgreSQL's
// lock_timeout covers advisory locks too, so no waiter is left behind.
const lockWait = 60 * time.Second

// connectTimeout bounds the way to a server that does not answer.
const connectTimeout = 5 * time.Second

// DirtyError says that a migration was cut off half way by something other
// than its own failure (which would have rolled it back).
type DirtyError struct{ Version uint }

func (e *DirtyError) Error() string {
	return fmt.Sprintf("the schema is marked dirty at version %d: a migration was cut off; look at what it left, "+
		"then set schema_migrations to the version that stands and dirty to false", e.Version)
}

// Latest is the version that Up brings a database to.
func Latest() uint {
	var latest uint
	names, _ := fs.Glob(files, "*.up.sql") // the pattern is constant and well formed
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		if v, err := strconv.ParseUint(number, 10, 32); err == nil {
			latest = max(latest, uint(v))
		}
	}
	return latest
}

// refusal is the server's answer to a file that it rolled back: one file is one
// transaction. It is nil for any other error: the wait for another pod that is
// migrating right now, or the operator's intervention (class 57), which can come
// after the commit.
func refusal(err error) *pgconn.PgError {
	if _, ran := errors.AsType[database.Error](err); !ran { // by value: from a file; by reference: from the library's own steps
		return nil
	}
	answer, ok := errors.AsType[*pgconn.PgError](withoutQuery(err))
	if !ok || strings.HasPrefix(answer.Code, "57") {
		return nil
	}
	return answer
}

// before is the version that an up migration starts from; -1 for the first one.
func before(version uint) int {
	last := -1
	names, _ := fs.Glob(files, "*.up.sql") // sorted
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		v, err := strconv.Atoi(number)
		if err != nil || v >= int(version) {
			break
		}
		last = v
	}
	return last
}

// Up brings the database to [Latest]. Any number of processes may call it at
// once: one migrates, the others wait up to a minute and find it done. A
// schema that is newer than this binary is left alone, with a warning, so
// that old and new pods run side by side.
func Up(ctx context.Context, databaseURL string, log *zap.Logger) error {
	return run(ctx, databaseURL, func(m *migrate.Migrate) error {
		// Without the lock, so dirty may only mean that another pod is migrating.
		version, _, err := m.Version()
		switch {
		case errors.Is(err, migrate.ErrNilVersion):
		case err != nil:
			return err
		case version > Latest():
			log.Warn("the schema is newer than this binary; leaving it as it is",
				zap.Uint("schema_version", version), zap.Uint("binary_version", Latest()))
			return nil
		}
		err = m.Up()
		if errors.Is(err, migrate.ErrNoChange) {
			return nil
		}
		if answer := refusal(err); answer != nil {
			// The library marks the schema dirty all the same. Nobody else migrates
			// while it is.
			if at, dirty, _ := m.Version(); dirty {
				err = errors.Join(err, m.Force(before(at)))
			}
			log.Warn("a migration was refused, and nothing was changed", zap.String("error", answer.Message))
		}
		if dirty, ok := errors.AsType[migrate.ErrDirty](err); ok {
			return &DirtyError{Version: uint(dirty.Version)}
		}
		if err == nil {
			log.Info("schema migrated", zap.Uint("from", version), zap.Uint("to", Latest()))
		}
		return err
	})
}

// Down takes the whole schema away again, and every setting with it.
func Down(ctx context.Context, databaseURL string) error {
	return run(ctx, databaseURL, func(m *migrate.Migrate) error {
		err := m.Down()
		if errors.Is(err, migrate.ErrNoChange) {
			return nil
		}
		return err
	})
}

// Version answers the schema's version, 0 where there is none yet.
func Version(ctx context.Context, databaseURL string) (version uint, dirty bool, err error) {
	err = run(ctx, databaseURL, func(m *migrate.Migrate) error {
		var err error
		version, dirty, err = m.Version()
		if errors.Is(err, migrate.ErrNilVersion) {
			return nil
		}
		return err
	})
	return version, dirty, err
}

// run calls step with a migrator on a connection of its own. The library's
// calls take no context: when ctx ends first, run returns and leaves the step
// to its own timeouts, since only a process that is leaving cancels it.
func run(ctx context.Context, databaseURL string, step func(*migrate.Migrate) error) error {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return fmt.Errorf("parse the database's URL: %w", err)
	}
	config.ConnectTimeout = connectTimeout
	done := make(chan error, 1)
	go func() { done <- migrateOn(config, step) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func migrateOn(config *pgx.ConnConfig, step func(*migrate.Migrate) error) (err error) {
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", lockWait.Milliseconds()))
		return err
	}))
	// The files name their schema, so a search_path says nothing about it.
	target, err := driver.WithInstance(db, &driver.Config{SchemaName: "public"})
	if err != nil {
		return errors.Join(fmt.Errorf("prepare the schema's migration: %w", withoutQuery(err)), db.Close())
	}
	source, err := iofs.New(files, ".")
	if err != nil {
		return errors.Join(fmt.Errorf("read the migrations: %w", err), target.Close())
	}
	m, err := migrate.NewWithInstance("embedded", source, config.Database, target)
	if err != nil {
		return errors.Join(fmt.Errorf("prepare the schema's migration: %w", err), target.Close())
	}
	m.LockTimeout = lockWait + 5*time.Second // PostgreSQL's own answer comes first
	defer func() {
		sourceErr, databaseErr := m.Close()
		err = errors.Join(err, sourceErr, databaseErr)
	}()
	if err := step(m); err != nil {
		return fmt.Errorf("migrate the schema: %w", withoutQuery(err))
	}
	return nil
}

// withoutQuery takes the whole migration's text out of the library's error, and
// lets the database's own be found by errors.As.
func withoutQuery(err error) error {
	if e, ok := errors.AsType[*database.Error](err); ok {
		return fmt.Errorf("%s: %w", e.Err, e.OrigErr)
	}
	if e, ok := errors.AsType[database.Error](err); ok {
		return fmt.Errorf("line %d: %w", e.Line, e.OrigErr)
	}
	return err
}
