package settings

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"platform-settings/test/pgtest"
)

func TestOnlyAConnectionThatBrokeIsCalledThat(t *testing.T) {
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	closed, cut := pgtest.Connect(t, url), pgtest.Connect(t, url)
	if err := closed.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cut.PgConn().Conn().Close(); err != nil {
		t.Fatal(err)
	}
	_, refused := pgx.Connect(t.Context(), "postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	var n int
	var text string
	library := stdlib.OpenDB(*conn.Config())
	defer library.Close()

	const broke, unexpected = "the connection broke", "unexpected error"
	for what, test := range map[string]struct {
		err  error
		want string
	}{
		"refused":           {refused, broke},
		"closed":            {closed.QueryRow(t.Context(), `SELECT 1`).Scan(&n), broke},
		"cut":               {cut.QueryRow(t.Context(), `SELECT 1`).Scan(&n), broke},
		"a library's":       {sql.ErrConnDone, broke},
		"null":              {conn.QueryRow(t.Context(), `SELECT null::text`).Scan(&text), unexpected},
		"not a number":      {conn.QueryRow(t.Context(), `SELECT 'sesame'`).Scan(&n), unexpected},
		"null in a library": {library.QueryRowContext(t.Context(), `SELECT null::text`).Scan(&text), unexpected},
		"text in a library": {library.QueryRowContext(t.Context(), `SELECT 'sesame'`).Scan(&n), unexpected},
	} {
		if test.err == nil {
			t.Fatalf("%s: no error", what)
		}
		if got := explain(test.err); !strings.Contains(got, test.want) || strings.Contains(got, "sesame") {
			t.Errorf("%s: %v is explained as %q, want %q", what, test.err, got, test.want)
		}
	}
}
