package migrations_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"platform-settings/test/pgtest"
)

// patience is how long a test waits for an event that must come.
const patience = 30 * time.Second

// announced is the content of a notification.
type announced struct {
	Revision int
	Changes  []struct {
		Key     string
		Deleted bool
		Value   json.RawMessage
		Digest  int64
	}
}

// ear hears the notifications of a database.
type ear struct {
	t    *testing.T
	conn *pgx.Conn
}

func listen(t *testing.T, url string) ear {
	conn := pgtest.Connect(t, url)
	var channel string
	if err := conn.QueryRow(t.Context(), `SELECT channel FROM settings_head`).Scan(&channel); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, conn, `LISTEN `+pgx.Identifier{channel}.Sanitize())
	return ear{t, conn}
}

// upTo returns the notifications up to a marker, which it sends itself. With the marker
// it can also tell that there were none.
func (e ear) upTo(marker *pgx.Conn) (heard []announced) {
	e.t.Helper()
	pgtest.Exec(e.t, marker, `SELECT pg_notify((SELECT channel FROM settings_head), '{"revision": -1}')`)
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	for {
		n, err := e.conn.WaitForNotification(ctx)
		if err != nil {
			e.t.Fatal(err)
		}
		if len(n.Payload) >= 8000 {
			e.t.Errorf("a payload of %d bytes", len(n.Payload))
		}
		var a announced
		if err := json.Unmarshal([]byte(n.Payload), &a); err != nil {
			e.t.Fatalf("%v: %s", err, n.Payload)
		}
		if a.Revision == -1 {
			return heard
		}
		heard = append(heard, a)
	}
}

func revision(t *testing.T, conn *pgx.Conn) (r int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT revision FROM settings_head`).Scan(&r); err != nil {
		t.Fatal(err)
	}
	return r
}
