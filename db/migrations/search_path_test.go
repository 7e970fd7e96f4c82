package migrations_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"platform-settings/db/migrations"
	"platform-settings/test/pgtest"
)

// Guarantee 14: the schema and its version are in public, no matter which schema the
// search_path of the migrating role's session finds first, if any.
func TestASearchPathMovesNothing(t *testing.T) {
	want := schema(t, pgtest.Database(t))
	for _, path := range []string{"''", "nowhere", "elsewhere, public"} {
		t.Run(path, func(t *testing.T) {
			address := pgtest.Empty(t)
			conn := pgtest.Connect(t, address)
			parsed, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			database := pgx.Identifier{strings.TrimPrefix(parsed.Path, "/")}.Sanitize()
			pgtest.Exec(t, conn, `CREATE SCHEMA elsewhere`)
			pgtest.Exec(t, conn, `ALTER DATABASE `+database+` SET search_path = `+path)
			if err := migrations.Up(t.Context(), address, zap.NewNop()); err != nil {
				t.Fatal(err)
			}
			version, dirty, err := migrations.Version(t.Context(), address)
			if err != nil || version != migrations.Latest() || dirty {
				t.Errorf("version %d, dirty %v, %v", version, dirty, err)
			}
			pgtest.Exec(t, conn, `ALTER DATABASE `+database+` RESET search_path`)
			if diff := cmp.Diff(want, schema(t, address)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			pgtest.Exec(t, conn, `DROP SCHEMA elsewhere`) // refused if anything is in it
			if version, _, err := migrations.Version(t.Context(), address); err != nil || version != migrations.Latest() {
				t.Errorf("version %d, %v, for a session that has no path of its own", version, err)
			}
			pgtest.Exec(t, conn, `ALTER DATABASE `+database+` SET search_path = `+path)
			if err := migrations.Down(t.Context(), address); err != nil {
				t.Error(err)
			}
		})
	}
}
