// Package migrations embeds the schema as numbered SQL files, and migrates a database
// with golang-migrate.
//
// One file is one transaction. It may run again on a database that already has it.
// db/schema.sql is a dump of the schema that the files make together.
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

// lockWait is how long a pod waits for another one that is migrating. The library waits
// for an advisory lock without a deadline. PostgreSQL's lock_timeout also applies to
// advisory locks, so the wait in the server ends too.
const lockWait = 60 * time.Second

// connectTimeout bounds connecting to a server that does not answer.
const connectTimeout = 5 * time.Second

// DirtyError says that a migration to this version was interrupted. A migration that
// merely fails is rolled back, and leaves the schema clean.
type DirtyError struct{ Version uint }

func (e *DirtyError) Error() string {
	return fmt.Sprintf("the schema is marked dirty at version %d: a migration was interrupted; find out which version the schema really has, "+
		"then set schema_migrations to that version and dirty to false", e.Version)
}

// Latest is the version to which Up migrates a database.
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

// refusal is the server's error if it has certainly rolled back a file, which is one
// transaction. It is nil for any other error. For example, the wait for another pod that
// is migrating may have timed out. Or an operator has intervened (class 57), which can
// happen after the commit.
func refusal(err error) *pgconn.PgError {
	if _, ran := errors.AsType[database.Error](err); !ran { // a value if a file failed, a pointer if one of the library's own steps did
		return nil
	}
	answer, ok := errors.AsType[*pgconn.PgError](withoutQuery(err))
	if !ok || strings.HasPrefix(answer.Code, "57") {
		return nil
	}
	return answer
}

// before is the version before an up migration's; -1 if it is the first one.
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

// Up migrates the database to [Latest]. Any number of processes may call it at the same
// time: one migrates, and the others wait for it, up to a minute. If the schema is newer
// than this binary, Up logs a warning and leaves it as it is, so that old and new pods
// can run side by side. The error is a [*DirtyError] if the schema is marked dirty.
func Up(ctx context.Context, databaseURL string, log *zap.Logger) error {
	return run(ctx, databaseURL, func(m *migrate.Migrate) error {
		// This reads without the lock. So dirty is ignored: another pod may be migrating.
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
			// The library marks the schema dirty even so. As long as it is, no other pod
			// migrates.
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

// Down drops the whole schema, and every setting with it.
func Down(ctx context.Context, databaseURL string) error {
	return run(ctx, databaseURL, func(m *migrate.Migrate) error {
		err := m.Down()
		if errors.Is(err, migrate.ErrNoChange) {
			return nil
		}
		return err
	})
}

// Version reads the schema's version, 0 if there is none, and whether it is marked dirty.
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

// run calls step with a migrator on a new connection. The library's calls take no
// context. If ctx ends first, run returns, and the step goes on until its own timeouts.
// That does no harm, because only a process that is about to end cancels ctx.
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
	// The files name the schema public, so the version must be there too. The search_path
	// must not decide it.
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
	m.LockTimeout = lockWait + 5*time.Second // longer, so that PostgreSQL's error comes first
	defer func() {
		sourceErr, databaseErr := m.Close()
		err = errors.Join(err, sourceErr, databaseErr)
	}()
	if err := step(m); err != nil {
		return fmt.Errorf("migrate the schema: %w", withoutQuery(err))
	}
	return nil
}

// withoutQuery removes the migration's whole text from the library's error, and wraps the
// database's error so that errors.As finds it.
func withoutQuery(err error) error {
	if e, ok := errors.AsType[*database.Error](err); ok {
		return fmt.Errorf("%s: %w", e.Err, e.OrigErr)
	}
	if e, ok := errors.AsType[database.Error](err); ok {
		return fmt.Errorf("line %d: %w", e.Line, e.OrigErr)
	}
	return err
}
