package pgtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"platform-settings/db/migrations"
	"platform-settings/internal/pgserver"
)

const templateName = "template_settings"

var (
	// databases and roles are numbered; the server is this process's alone.
	databases, roles atomic.Int64

	template struct {
		once sync.Once
		err  error
	}
)

// Empty is the URL of a new database without any schema on the shared server. It is
// dropped when the test ends, even if somebody is still connected.
func Empty(t testing.TB) string {
	t.Helper()
	return create(t, Server(t), "template1")
}

// Database is the URL of a new database on the shared server, with the product's
// schema and nothing else. It is dropped when the test ends, even if somebody is
// still connected.
//
// The schema is migrated once per process and cloned from there.
func Database(t testing.TB) string {
	t.Helper()
	server := Server(t)
	template.once.Do(func() { template.err = migrate(t.Context(), server) })
	if template.err != nil {
		t.Fatalf("pgtest: %v", template.err)
	}
	return create(t, server, templateName)
}

// migrate makes the template. It forbids connections to it afterwards, because a
// database in use cannot be cloned.
func migrate(ctx context.Context, server *pgserver.Server) error {
	if err := administer(ctx, server.URL("postgres"), "create database "+templateName); err != nil {
		return fmt.Errorf("create template: %w", err)
	}
	if err := migrations.Up(ctx, server.URL(templateName), zap.NewNop()); err != nil {
		return fmt.Errorf("migrate template: %w", err)
	}
	if err := administer(ctx, server.URL("postgres"), "alter database "+templateName+" allow_connections false"); err != nil {
		return fmt.Errorf("close template: %w", err)
	}
	return nil
}

func create(t testing.TB, server *pgserver.Server, from string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if err := administer(t.Context(), server.URL("postgres"), "create database "+name+" template "+from); err != nil {
		t.Fatalf("pgtest: create database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		if err := administer(ctx, server.URL("postgres"), "drop database "+name+" with (force)"); err != nil {
			t.Errorf("pgtest: drop database: %v", err)
		}
	})
	return server.URL(name)
}

// administer runs statements one by one on a connection of their own, because CREATE
// DATABASE cannot run in a transaction.
func administer(ctx context.Context, url string, statements ...string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}
