package settings

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"platform-settings/settings"
)

// head is what a poll asks for.
type head struct {
	settings.Head
	channel  string
	standby  bool
	database string // which one this is
	triggers string // what is wrong with them; "" for nothing
	version  string // see versionColumn
}

// databaseColumn tells databases apart, clones and restored ones too; a standby
// is the same as its primary.
const databaseColumn = `(SELECT d.oid FROM pg_database d WHERE d.datname = current_database())::text || '/' || (SELECT system_identifier FROM pg_control_system())::text`

// atColumn is when the commit was made that has the head's revision.
const atColumn = `(SELECT c.at FROM public.settings_commits c WHERE c.revision = h.revision)`

// baseColumn is when the commit was made that has revision $1 here.
const baseColumn = `(SELECT c.at FROM public.settings_commits c WHERE c.revision = $1)`

// rowVersions is a hash of which versions of a table's rows there are. A version
// is known by its place and by the transaction that wrote it, and a change
// of the row writes another. It takes a quarter of the time that their content takes.
// PostgreSQL hashes no xid outside of a record, which costs: its distance from a
// fixed one is a number. Freezing leaves xmin as it is, and locks are elsewhere.
const rowVersions = `SELECT bit_xor(hashtidextended(v.ctid, age('3'::xid)::bigint - age(v.xmin))) FROM `

// versionColumn is a fingerprint of everything that readHead returns, of the row h:
// same fingerprint, same head. It holds within one session of the server:
// elsewhere the same transaction's number may be another transaction's, and a
// pooler may lead anywhere. Columns are in it because to drop one and make it anew
// changes every row and touches none.
const versionColumn = `
	ROW(h, pg_backend_pid(), pg_postmaster_start_time(),
	    (` + rowVersions + `public.platform_settings v),
	    (` + rowVersions + `pg_attribute v WHERE v.attrelid = 'public.platform_settings'::regclass),
	    (` + rowVersions + `pg_trigger v WHERE v.tgrelid IN ('public.platform_settings'::regclass, 'public.settings_pending'::regclass)))::text`

// readVersion reads nothing else.
func readVersion(ctx context.Context, conn *pgx.Conn) (version string, err error) {
	err = conn.QueryRow(ctx, `SELECT `+versionColumn+` FROM public.settings_head h`).Scan(&version)
	return version, err
}

// headColumns are those of a head, of the row h. The digest of the content is the
// XOR of the rows' own hashes: it needs no order and no transfer of the rows, and
// a snapshot keeps its own up to date row by row.
const headColumns = `
	h.revision, h.channel, pg_is_in_recovery(),
	(SELECT coalesce(bit_xor(hash_record_extended(s, 0)), 0) FROM public.platform_settings s),
	` + triggersColumn + `, ` + databaseColumn + `, ` + atColumn + `, ` + baseColumn + `, ` + versionColumn

// readHead reads the head, and when the commit was made that has the base's
// revision there.
func readHead(ctx context.Context, conn *pgx.Conn, base settings.Base) (head, error) {
	h := head{Head: settings.Head{Base: base}}
	var at, baseAt *time.Time
	err := conn.QueryRow(ctx, `SELECT `+headColumns+` FROM public.settings_head h`, base.Revision()).
		Scan(&h.Revision, &h.channel, &h.standby, &h.Digest, &h.triggers, &h.database, &at, &baseAt, &h.version)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errNoHead
	}
	if err != nil {
		return head{}, fmt.Errorf("read the head: %w", err)
	}
	h.At, h.BaseAt = orZero(at), orZero(baseAt)
	return h, nil
}
