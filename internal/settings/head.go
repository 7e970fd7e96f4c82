package settings

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"platform-settings/settings"
)

// head is the answer to a poll.
type head struct {
	settings.Head
	channel  string
	standby  bool
	database string // identifies it; see databaseColumn
	triggers string // what is wrong with them; "": nothing
	version  string // see versionColumn
}

// databaseColumn identifies a database. A clone by CREATE DATABASE has another value,
// and so has a restored dump; a standby has its primary's.
const databaseColumn = `(SELECT d.oid FROM pg_database d WHERE d.datname = current_database())::text || '/' || (SELECT system_identifier FROM pg_control_system())::text`

// atColumn is when the commit with the head's revision was made.
const atColumn = `(SELECT c.at FROM public.settings_commits c WHERE c.revision = h.revision)`

// baseColumn is when the commit with the base's revision, $1, was made in this database.
const baseColumn = `(SELECT c.at FROM public.settings_commits c WHERE c.revision = $1)`

// rowVersions is a hash of the row versions in a table. A row version is identified by
// its place (ctid) and the transaction that wrote it (xmin); each change of a row writes
// a new version (PostgreSQL manual, System Columns). This takes a quarter of the
// time of hashing the content. There is no hash function for xid, and hashing it in a
// record is slow, so the hash uses its distance from a fixed xid. Neither freezing nor
// locking a row changes xmin.
const rowVersions = `SELECT bit_xor(hashtidextended(v.ctid, age('3'::xid)::bigint - age(v.xmin))) FROM `

// versionColumn is a fingerprint of everything that readHead returns, for the row h of
// settings_head: same fingerprint, same head. It includes the session, because a pooler
// may lead to another server, where another transaction may have the same xid. It
// includes the table's columns, because dropping a column and adding it again changes
// the content without writing a row.
const versionColumn = `
	ROW(h, pg_backend_pid(), pg_postmaster_start_time(),
	    (` + rowVersions + `public.platform_settings v),
	    (` + rowVersions + `pg_attribute v WHERE v.attrelid = 'public.platform_settings'::regclass),
	    (` + rowVersions + `pg_trigger v WHERE v.tgrelid IN ('public.platform_settings'::regclass, 'public.settings_pending'::regclass)))::text`

// readVersion reads only the head's version.
func readVersion(ctx context.Context, conn *pgx.Conn) (version string, err error) {
	err = conn.QueryRow(ctx, `SELECT `+versionColumn+` FROM public.settings_head h`).Scan(&version)
	return version, err
}

// headColumns are the columns that readHead scans, for the row h of settings_head. The
// content's digest is the XOR of the rows' hashes. XOR does not depend on their order,
// and a snapshot can update its own digest row by row.
const headColumns = `
	h.revision, h.channel, pg_is_in_recovery(),
	(SELECT coalesce(bit_xor(hash_record_extended(s, 0)), 0) FROM public.platform_settings s),
	` + triggersColumn + `, ` + databaseColumn + `, ` + atColumn + `, ` + baseColumn + `, ` + versionColumn

// readHead reads the head, and when the commit with the base's revision was made.
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
