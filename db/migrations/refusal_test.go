package migrations

import (
	"errors"
	"fmt"
	"testing"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5/pgconn"
)

// If a pod took another pod's migration for its own refused one, it would set back the
// version under the other.
func TestOnlyAFileThatTheServerRolledBackWasRefused(t *testing.T) {
	timeout, shutdown := &pgconn.PgError{Code: "55P03"}, &pgconn.PgError{Code: "57P01"}
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"none":                         {nil, false},
		"a file":                       {database.Error{OrigErr: timeout, Err: "migration failed"}, true},
		"a file, wrapped":              {fmt.Errorf("up: %w", database.Error{OrigErr: timeout, Err: "migration failed"}), true},
		"a file, and the server ended": {database.Error{OrigErr: shutdown, Err: "migration failed"}, false},
		"a file, and the line was cut": {database.Error{OrigErr: errors.New("EOF"), Err: "migration failed"}, false},
		"the wait for another pod":     {&database.Error{OrigErr: timeout, Err: "try lock failed"}, false},
	} {
		if got := refusal(test.err) != nil; got != test.want {
			t.Errorf("%s: refused: %t, want %t", name, got, test.want)
		}
	}
}
