package pgtest

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"platform-settings/db/migrations"
	"platform-settings/internal/pgserver"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestDatabasesAreIsolated(t *testing.T) {
	for name, create := range map[string]func(testing.TB) string{"empty": Empty, "migrated": Database} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, other := Connect(t, create(t)), Connect(t, create(t))
			Exec(t, one, `create table here (it int)`)
			var exists bool
			if err := other.QueryRow(t.Context(), `select to_regclass('here') is not null`).Scan(&exists); err != nil {
				t.Fatal(err)
			}
			if exists {
				t.Error("a table of one database is in the other")
			}
		})
	}
}

func TestDatabaseIsMigrated(t *testing.T) {
	version, dirty, err := migrations.Version(t.Context(), Database(t))
	if err != nil || dirty || version != migrations.Latest() {
		t.Errorf("version = %d, dirty = %t, %v; want %d", version, dirty, err, migrations.Latest())
	}
	if version, _, err := migrations.Version(t.Context(), Empty(t)); err != nil || version != 0 {
		t.Errorf("version of an empty database = %d, %v", version, err)
	}
}

func TestDatabaseEndsWithItsTest(t *testing.T) {
	count := func(kind string) (n int) {
		t.Helper()
		conn := Connect(t, Server(t).URL("postgres"))
		if err := conn.QueryRow(t.Context(), `select count(*) from `+kind).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	Database(t) // makes the template, which stays
	databases, roles := count("pg_database"), count("pg_roles")
	t.Run("one", func(t *testing.T) {
		url := Database(t)
		role := Role(t, url, "guest")
		Exec(t, Connect(t, url), `grant create on schema public to public`)
		Exec(t, Connect(t, role), `create table mine ()`)
		// Not closed by the test, nor by any cleanup.
		if _, err := pgx.Connect(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	})
	if diff := cmp.Diff([]int{databases, roles}, []int{count("pg_database"), count("pg_roles")}); diff != "" {
		t.Errorf("databases and roles (-before +after):\n%s", diff)
	}
}

func TestRoleMayLogInAndNothingElse(t *testing.T) {
	url := Empty(t)
	Exec(t, Connect(t, url), `create table secret (it int)`)
	guest := Connect(t, Role(t, url, "guest"))
	for _, sql := range []string{`select * from secret`, `create role friend`, `create database mine`} {
		_, err := guest.Exec(t.Context(), sql)
		const insufficientPrivilege = "42501"
		if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != insufficientPrivilege {
			t.Errorf("%s: %v, want refusal", sql, err)
		}
	}
}

func TestDedicatedServerIsAnother(t *testing.T) {
	server := Dedicated(t, pgserver.Config{})
	if server.PID() == Server(t).PID() {
		t.Fatal("it is the shared one")
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	Connect(t, Empty(t))
}

func BenchmarkDatabase(b *testing.B) {
	for b.Loop() {
		Database(b)
	}
}
