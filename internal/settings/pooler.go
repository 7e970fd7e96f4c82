package settings

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

var errPooler = errors.New("the connection goes through a pooler in transaction mode, which accepts LISTEN but delivers nothing")

// checkPooler returns errPooler if conn goes through a pooler that gives each
// transaction to any free session of the server. LISTEN has no effect there.
//
// A pooler announces another process id than the server's own. A pooler in session mode
// does that too, and is fine. So a second connection asks in turn with the first. If
// both ever run in the same session of the server, or the first one in two, the pooler
// shares sessions. It asks several times, because other clients use the pooler too.
func checkPooler(ctx context.Context, conn *pgx.Conn, config *pgx.ConnConfig) error {
	pid, err := backend(ctx, conn)
	if err != nil || pid == conn.PgConn().PID() {
		return err
	}
	other, err := connect(ctx, config)
	if err != nil {
		return fmt.Errorf("look for a pooler: %w", err)
	}
	defer func() { _ = other.Close(ctx) }()
	for range 20 {
		first, err := backend(ctx, conn)
		if err != nil {
			return err
		}
		second, err := backend(ctx, other)
		if err != nil {
			return err
		}
		if first == second || first != pid {
			return errPooler
		}
	}
	return nil
}

func backend(ctx context.Context, conn *pgx.Conn) (pid uint32, err error) {
	// Without a prepared statement, which another session would not know.
	err = conn.QueryRow(ctx, `SELECT pg_backend_pid()`, pgx.QueryExecModeExec).Scan(&pid)
	if err != nil {
		return 0, fmt.Errorf("look for a pooler: %w", err)
	}
	return pid, nil
}
