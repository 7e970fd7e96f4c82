package settings

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

var errPooler = errors.New("a pooler in transaction mode is between, which takes LISTEN and delivers nothing")

// checkPooler finds out whether conn goes through a pooler that hands each
// transaction to whichever server session is free: there LISTEN is lost.
//
// A pooler gives itself away by a process id that is not the server's. That
// alone may be one in session mode, which is fine. So a second client asks in
// turn with the first: if ever both run in one server session, or the first in
// two, sessions are shared. Others use the pooler too, so once may not do.
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
	// In one go: through such a pooler a prepared statement may be gone.
	err = conn.QueryRow(ctx, `SELECT pg_backend_pid()`, pgx.QueryExecModeExec).Scan(&pid)
	if err != nil {
		return 0, fmt.Errorf("look for a pooler: %w", err)
	}
	return pid, nil
}
