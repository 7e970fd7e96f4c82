package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Connect opens a connection that closes with the test.
func Connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("pgtest: connect: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		_ = conn.Close(ctx) // the test may have cut or closed it
	})
	return conn
}

// Exec runs a statement, and fails the test if that fails.
func Exec(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("pgtest: exec: %v\n%s", err, sql)
	}
}

// Role makes a role that may log in and nothing else, and returns the URL to connect
// with it. databaseURL has to be a superuser's. The role's name is the given one
// with a suffix. The role and what it owns in this database are dropped when the
// test ends.
func Role(t testing.TB, databaseURL, name string) string {
	t.Helper()
	address, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatalf("pgtest: role: %v", err)
	}
	role := fmt.Sprintf("%s_%d", name, roles.Add(1))
	quoted := pgx.Identifier{role}.Sanitize()
	if err := administer(t.Context(), databaseURL, "create role "+quoted+" login"); err != nil {
		t.Fatalf("pgtest: create role: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		// Its sessions have to end first, because DROP would wait for their locks.
		err := administer(ctx, databaseURL,
			"alter role "+quoted+" nologin",
			"select pg_terminate_backend(pid) from pg_stat_activity where usesysid = '"+quoted+"'::regrole",
			"drop owned by "+quoted+" cascade",
			"drop role "+quoted)
		if err != nil {
			t.Errorf("pgtest: drop role: %v", err)
		}
	})
	address.User = url.User(role)
	return address.String()
}
