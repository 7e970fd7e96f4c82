package settings

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"platform-settings/settings"
)

// Timeouts of a write: for all of it up to COMMIT, for another transaction's
// row lock, and then until this pod has it in force.
const (
	writeTimeout   = 8 * time.Second
	rowLockTimeout = "3s"
	inForceTimeout = 5 * time.Second
	writeAttempts  = 3
)

// notNumbered marks a row that the transaction changed, until COMMIT has
// numbered it.
const notNumbered settings.Revision = -1

// edit is one row to insert, update, or (next is nil) delete.
type edit struct {
	key    string
	next   *settings.Setting
	exists bool
}

// transact is every write: one transaction that locks the keys in order, has
// decide look at them under the lock, and makes its edits; then it waits until
// the commit is in force on this pod. It returns the commit's revision and the
// keys as they stand after it.
func (w *writer) transact(ctx context.Context, by settings.Author, keys []string,
	decide func(current map[string]*settings.Setting) ([]edit, error),
) (settings.Revision, map[string]*settings.Setting, error) {
	switch {
	case len(by.Reason) > settings.MaxReasonBytes:
		return 0, nil, &settings.InvalidError{Field: "reason", Why: fmt.Sprintf("must take at most %d bytes", settings.MaxReasonBytes)}
	case strings.ContainsRune(by.Reason, 0) || !utf8.ValidString(by.Reason):
		return 0, nil, &settings.InvalidError{Field: "reason", Why: "must be UTF-8 without U+0000"}
	}

	// The caller may go away; a COMMIT that is under way is worth its answer.
	ctx = context.WithoutCancel(ctx)
	writing, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var (
		revision settings.Revision
		after    map[string]*settings.Setting
		err      error
	)
	for range writeAttempts {
		revision, after, err = w.attempt(writing, by, keys, decide)
		if !errors.Is(err, errAgain) && !errors.Is(err, errBroken) {
			break
		}
	}
	if err != nil {
		return 0, nil, err
	}

	waiting, cancel := context.WithTimeoutCause(ctx, inForceTimeout, fmt.Errorf("not seen within %v", inForceTimeout))
	defer cancel()
	if err := w.await(waiting, revision); err != nil {
		return revision, after, &settings.NotInForceError{Revision: revision, Cause: err}
	}
	return revision, after, nil
}

// What is worth another attempt; nothing was changed.
var (
	// errAgain: another writer came between.
	errAgain = fmt.Errorf("%w: it was changed by others all the while", settings.ErrLocked)
	// errBroken: the connection was lost before COMMIT.
	errBroken = fmt.Errorf("%w: the connection was lost", settings.ErrUnavailable)
)

func (w *writer) attempt(ctx context.Context, by settings.Author, keys []string,
	decide func(current map[string]*settings.Setting) ([]edit, error),
) (settings.Revision, map[string]*settings.Setting, error) {
	tx, err := w.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return 0, nil, writeError("begin", err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // after COMMIT it does nothing

	stands, err := lock(ctx, tx, by, keys)
	if err != nil {
		return 0, nil, writeError("lock", err)
	}
	edits, err := decide(stands)
	if err != nil {
		return 0, nil, err
	}
	before, xid, err := makeEdits(ctx, tx, edits, stands, w.unannounced(stands))
	if err != nil {
		return 0, nil, writeError("change", err)
	}
	if err := tx.Commit(ctx); err != nil {
		// Class 57 is the operator's intervention; it can come after the commit
		// was made durable, as any lost connection can.
		if c := code(err); c == "" || strings.HasPrefix(c, "57") {
			return 0, nil, fmt.Errorf("%w: %w", settings.ErrOutcomeUnknown, err)
		}
		return 0, nil, writeError("commit", err)
	}

	// The revision is given inside COMMIT, so it can only be read after it.
	var revision settings.Revision
	err = w.pool.QueryRow(ctx, `
		SELECT coalesce((SELECT c.revision FROM public.settings_commits c WHERE c.revision > $1 AND c.xid = $2::text::xid8), h.revision)
		  FROM public.settings_head h`, before, xid).Scan(&revision)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", settings.ErrOutcomeUnknown, err)
	}
	for _, s := range stands {
		if s.Revision == notNumbered {
			s.Revision = revision
		}
	}
	return revision, stands, nil
}

// lock names the author, locks the rows in the keys' order, and reads them. The
// read is a statement of its own: one that waits for a lock sees the history as
// of before the wait (PostgreSQL manual, 13.2.1). It may also find what the first
// did not: a row that was made anew, or moved to the key, by whoever was waited for.
func lock(ctx context.Context, tx pgx.Tx, by settings.Author, keys []string) (map[string]*settings.Setting, error) {
	stands := map[string]*settings.Setting{}
	// By itself: the timeout has to stand before the next statements are even
	// parsed, which waits for whoever holds the table.
	_, err := tx.Exec(ctx, `
		SELECT set_config('settings.actor', $1, true), set_config('settings.reason', $2, true),
		       set_config('settings.wait', $5, true), set_config('lock_timeout', $3, true),
		       set_config('idle_in_transaction_session_timeout', $4, true)`,
		by.Actor, by.Reason, rowLockTimeout, fmt.Sprint(writeTimeout.Milliseconds()), strconv.FormatBool(by.Awaits))
	if err != nil {
		return nil, err
	}
	locked := map[string]bool{}
	batch := &pgx.Batch{}
	batch.Queue(`SELECT s.key FROM public.platform_settings s WHERE s.key = ANY($1) ORDER BY s.key FOR UPDATE`, keys).
		Query(func(rows pgx.Rows) error {
			var key string
			_, err := pgx.ForEachRow(rows, []any{&key}, func() error {
				locked[key] = true
				return nil
			})
			return err
		})
	batch.Queue(`SELECT `+settingColumns+` FROM public.platform_settings s WHERE s.key = ANY($1)`, keys).
		Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var row settingRow
				if err := rows.Scan(row.columns()...); err != nil {
					return err
				}
				if !locked[*row.key] {
					return errAgain
				}
				stands[*row.key] = row.setting()
			}
			return rows.Err()
		})
	return stands, tx.SendBatch(ctx, batch).Close()
}

// unannounced says whether the rows hold what this pod should have in force and
// has not: they were changed while the triggers were off. Others may lack it too,
// and an edit that changes nothing would tell nobody.
func (w *writer) unannounced(stands map[string]*settings.Setting) bool {
	now := w.keeper.Current()
	if now.Source() != settings.SourceDatabase {
		return false // it has digests of nothing
	}
	for key, s := range stands {
		if have := now.Lookup(key); s.Revision <= now.Revision() && (have == nil || have.Digest != s.Digest) {
			return true
		}
	}
	return false
}

// makeEdits makes the edits, and notes in stands what they lead to; where they are
// to be announced, also those that change nothing are a commit. It returns
// what finds the transaction's commit: a revision that is older, and its xid.
func makeEdits(ctx context.Context, tx pgx.Tx, edits []edit, stands map[string]*settings.Setting, announce bool) (before settings.Revision, xid string, err error) {
	batch := &pgx.Batch{}
	if announce {
		batch.Queue(`SET LOCAL settings.announce = on`)
	}
	for _, ed := range edits {
		if ed.next == nil {
			batch.Queue(`DELETE FROM public.platform_settings WHERE key = $1`, ed.key)
			delete(stands, ed.key)
			continue
		}
		batch.Queue(writeStatement(ed), writeArguments(ed.next)...).QueryRow(func(row pgx.Row) error {
			var r settingRow
			err := row.Scan(r.columns()...)
			if errors.Is(err, pgx.ErrNoRows) { // created or deleted by another since it was looked for
				return errAgain
			}
			if err != nil {
				return err
			}
			s, old := r.setting(), stands[ed.key]
			if old == nil || old.Digest != s.Digest {
				s.Revision = notNumbered
			}
			stands[ed.key] = s
			return nil
		})
	}
	// The triggers cannot be turned off between this and COMMIT: that takes a lock
	// which this transaction's own excludes.
	batch.Queue(`SELECT ` + firingColumn + `, h.revision, pg_current_xact_id()::text FROM public.settings_head h`).
		QueryRow(func(row pgx.Row) error {
			var firing bool
			if err := row.Scan(&firing, &before, &xid); err != nil {
				return err
			}
			if !firing {
				return settings.ErrTriggersOff
			}
			return nil
		})
	return before, xid, tx.SendBatch(ctx, batch).Close()
}

func writeStatement(ed edit) string {
	if ed.exists {
		return `UPDATE public.platform_settings s
			SET value_bool = $2, value_int = $3, value_float = $4, value_text = $5, value_time = $6, value_json = $7,
			    description = $8, public = $9
			WHERE s.key = $1 RETURNING ` + settingColumns
	}
	return `INSERT INTO public.platform_settings AS s
			(key, value_bool, value_int, value_float, value_text, value_time, value_json, description, public)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (key) DO NOTHING RETURNING ` + settingColumns
}

func writeArguments(s *settings.Setting) []any {
	args := []any{s.Key, nil, nil, nil, nil, nil, nil, s.Description, s.Public}
	switch v := s.Value; v.Kind() {
	case settings.KindBool:
		args[1] = v.Bool()
	case settings.KindInt:
		args[2] = v.Int()
	case settings.KindFloat:
		args[3] = v.Float()
	case settings.KindText:
		args[4] = v.Text()
	case settings.KindTime:
		args[5] = v.Time()
	case settings.KindJSON:
		args[6] = v.JSON()
	}
	return args
}
