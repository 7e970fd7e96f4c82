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

// Limits of a write.
const (
	writeTimeout   = 8 * time.Second // for all attempts, up to COMMIT's answer
	rowLockTimeout = "3s"            // for another transaction's lock
	inForceTimeout = 5 * time.Second // from then until the commit is in force on this pod
	writeAttempts  = 3
)

// notNumbered marks a row that the transaction has changed. COMMIT gives it its
// revision.
const notNumbered settings.Revision = -1

// edit is one row to insert, update, or (next is nil) delete.
type edit struct {
	key    string
	next   *settings.Setting
	exists bool
}

// transact makes every write. In one transaction it locks the rows of the keys, in
// order, lets decide look at them, and makes the edits that decide returns. Then it
// waits until the commit is in force on this pod. It returns the commit's revision, and
// the settings with these keys after it.
func (w *writer) transact(ctx context.Context, by settings.Author, keys []string,
	decide func(current map[string]*settings.Setting) ([]edit, error),
) (settings.Revision, map[string]*settings.Setting, error) {
	switch {
	case len(by.Reason) > settings.MaxReasonBytes:
		return 0, nil, &settings.InvalidError{Field: "reason", Why: fmt.Sprintf("must take at most %d bytes", settings.MaxReasonBytes)}
	case strings.ContainsRune(by.Reason, 0) || !utf8.ValidString(by.Reason):
		return 0, nil, &settings.InvalidError{Field: "reason", Why: "must be UTF-8 without U+0000"}
	}

	// If the caller goes away during COMMIT, the outcome must still be known.
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

// After these errors nothing was changed, and another attempt may succeed.
var (
	// errAgain: another writer interfered.
	errAgain = fmt.Errorf("%w: other writers kept changing it", settings.ErrLocked)
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

	rows, err := lock(ctx, tx, by, keys)
	if err != nil {
		return 0, nil, writeError("lock", err)
	}
	edits, err := decide(rows)
	if err != nil {
		return 0, nil, err
	}
	before, xid, err := makeEdits(ctx, tx, edits, rows, w.unannounced(rows))
	if err != nil {
		return 0, nil, writeError("change", err)
	}
	if err := tx.Commit(ctx); err != nil {
		// An operator's intervention (class 57) can come after the commit has become
		// durable, and a connection can be lost then too.
		if c := code(err); c == "" || strings.HasPrefix(c, "57") {
			return 0, nil, fmt.Errorf("%w: %w", settings.ErrOutcomeUnknown, err)
		}
		return 0, nil, writeError("commit", err)
	}

	// COMMIT itself assigns the revision, so it can only be read afterwards.
	var revision settings.Revision
	err = w.pool.QueryRow(ctx, `
		SELECT coalesce((SELECT c.revision FROM public.settings_commits c WHERE c.revision > $1 AND c.xid = $2::text::xid8), h.revision)
		  FROM public.settings_head h`, before, xid).Scan(&revision)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", settings.ErrOutcomeUnknown, err)
	}
	for _, s := range rows {
		if s.Revision == notNumbered {
			s.Revision = revision
		}
	}
	return revision, rows, nil
}

// lock names the author, locks the rows in the keys' order, and reads them. It reads
// them in a statement of its own, because a statement that waits for a lock sees the
// history as it was before the wait (PostgreSQL manual, 13.2.1 Read Committed). The
// second statement may find a row that the first did not lock, if the transaction that
// held the lock created it or changed its key. Then the write is tried again.
func lock(ctx context.Context, tx pgx.Tx, by settings.Author, keys []string) (map[string]*settings.Setting, error) {
	current := map[string]*settings.Setting{}
	// Not in the batch: parsing the next statements already waits for a lock on the
	// table, so lock_timeout has to be set before.
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
				current[*row.key] = row.setting()
			}
			return rows.Err()
		})
	return current, tx.SendBatch(ctx, batch).Close()
}

// unannounced says whether the rows differ from what this pod has in force, although it
// has their revisions: they were changed while the triggers were off. Other pods may
// lack those changes too, and a write that changes nothing would not announce them.
func (w *writer) unannounced(rows map[string]*settings.Setting) bool {
	now := w.keeper.Current()
	if now.Source() != settings.SourceDatabase {
		return false // its settings have no digests
	}
	for key, s := range rows {
		if have := now.Lookup(key); s.Revision <= now.Revision() && (have == nil || have.Digest != s.Digest) {
			return true
		}
	}
	return false
}

// makeEdits makes the edits, and updates rows accordingly. With announce, edits that
// change nothing make a commit too. It returns an older revision and the transaction's
// id, by which its commit can be found.
func makeEdits(ctx context.Context, tx pgx.Tx, edits []edit, rows map[string]*settings.Setting, announce bool) (before settings.Revision, xid string, err error) {
	batch := &pgx.Batch{}
	if announce {
		batch.Queue(`SET LOCAL settings.announce = on`)
	}
	for _, ed := range edits {
		if ed.next == nil {
			batch.Queue(`DELETE FROM public.platform_settings WHERE key = $1`, ed.key)
			delete(rows, ed.key)
			continue
		}
		batch.Queue(writeStatement(ed), writeArguments(ed.next)...).QueryRow(func(row pgx.Row) error {
			var r settingRow
			err := row.Scan(r.columns()...)
			if errors.Is(err, pgx.ErrNoRows) { // another transaction created or deleted it after lock
				return errAgain
			}
			if err != nil {
				return err
			}
			s, old := r.setting(), rows[ed.key]
			if old == nil || old.Digest != s.Digest {
				s.Revision = notNumbered
			}
			rows[ed.key] = s
			return nil
		})
	}
	// The triggers cannot be turned off between this and COMMIT, because ALTER TABLE
	// needs a lock that conflicts with this transaction's (PostgreSQL manual, 13.3.1
	// Table-Level Locks).
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
