package oracle

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// session is an SQL writer's connection. Statements wait a second for a lock.
type session struct {
	journal   *journal
	url, name string
	conn      *pgx.Conn
}

const mostStatement = 20 * time.Second

// run makes a planned transaction, and records how it went. It returns false if the
// server could not be reached.
func (s *session) run(ctx context.Context, tx transaction) bool {
	if s.conn == nil || s.conn.IsClosed() {
		config, err := pgx.ParseConfig(s.url)
		if err != nil {
			s.journal.violation("%v", err)
			return false
		}
		config.RuntimeParams["application_name"] = s.name
		config.RuntimeParams["lock_timeout"] = "1s"
		if s.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
			return false
		}
	}
	w := &write{tag: tx.tag, does: tx.String(), began: s.journal.now()}
	defer s.journal.wrote(w)
	// Wait for the answer to COMMIT, even if the round has ended meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mostStatement)
	defer cancel()
	w.outcome = nothing
	begun, err := s.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: tx.isolation})
	if err != nil {
		w.why = err.Error()
		return true
	}
	if err := s.change(ctx, begun, tx, w); err != nil {
		w.why = err.Error()
		if !harmless(err) {
			s.journal.violation("%s: %v", w.does, err)
		}
		_ = begun.Rollback(ctx)
		return true
	}
	if tx.rollback {
		_ = begun.Rollback(ctx)
		return true
	}
	err = begun.Commit(ctx)
	refusal, refused := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		w.outcome = landed
	case refused && !strings.HasPrefix(refusal.Code, "57"), errors.Is(err, pgx.ErrTxCommitRollback):
		w.why = err.Error()
		if !harmless(err) {
			s.journal.violation("%s: %v", w.does, err)
		}
	default:
		w.outcome, w.why = unknown, err.Error()
	}
	return true
}

// change does everything except COMMIT. Then it reads the rows that the transaction
// has locked, because nobody else can change them before it has ended.
func (s *session) change(ctx context.Context, begun pgx.Tx, tx transaction, w *write) error {
	if _, err := begun.Exec(ctx, `SELECT set_config('settings.reason', $1, true)`, tx.tag); err != nil {
		return err
	}
	type hold struct {
		keys  map[string]bool
		whole bool // the table is locked
	}
	now := hold{keys: map[string]bool{}}
	var saved hold
	for _, step := range tx.steps {
		time.Sleep(step.think)
		switch step.does {
		case savepoint:
			saved = hold{maps.Clone(now.keys), now.whole}
		case rollbackTo:
			now = hold{maps.Clone(saved.keys), saved.whole}
		case truncates:
			// Every later writer waits for it.
			if _, err := begun.Exec(ctx, `SET LOCAL lock_timeout = '200ms'`); err != nil {
				return err
			}
			now.whole = true
		}
		rows, err := begun.Query(ctx, step.sql, step.args...)
		if err != nil {
			return err
		}
		keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if step.does == fails {
			if err == nil {
				s.journal.violation("%s: bad SQL was not refused", w.does)
			}
			if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "23514" {
				return err
			}
			if _, err := begun.Exec(ctx, `ROLLBACK TO s`); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		for _, key := range keys {
			now.keys[key] = true
		}
		if len(keys) > 0 && step.also != "" {
			now.keys[step.also] = true
		}
	}

	w.rows, w.whole = map[string]*setting{}, now.whole
	for key := range now.keys {
		w.rows[key] = nil
	}
	rows, err := begun.Query(ctx, `SELECT to_jsonb(s)::text FROM platform_settings s`)
	if err != nil {
		return err
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, text := range texts {
		key, row, err := parseRow([]byte(text))
		if err != nil {
			return err
		}
		if now.keys[key] || now.whole {
			w.rows[key] = row
			w.sure = w.sure || strings.HasPrefix(row.Value, tx.tag) || row.Description == tx.tag
		}
	}
	return nil
}

// harmless reports whether a fault or another writer explains an error: the server
// went away, or two transactions conflicted.
func harmless(err error) bool {
	refusal, refused := errors.AsType[*pgconn.PgError](err)
	if !refused {
		return true
	}
	switch refusal.Code {
	case "40001", "40P01", "55P03", "23505": // serialization, deadlock, lock timeout, key taken meanwhile
		return true
	}
	return slices.Contains([]string{"08", "53", "57"}, refusal.Code[:2])
}
