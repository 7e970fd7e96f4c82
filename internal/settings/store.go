package settings

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// PoolConfig is a pool of up to four connections that suits an engine; see
// [Config.Pool]. What the URL says of a connection comes first.
func PoolConfig(databaseURL, applicationName string) (*pgxpool.Config, error) {
	c, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	prepare(c.ConnConfig, applicationName)
	c.MaxConns = 4
	// A server that went away leaves dead connections behind. A write should not
	// be what finds them, however lately they were used.
	c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	c.PingTimeout = answerTimeout
	return c, nil
}

// ListenConfig is a connection that suits a listener; see [Config.Listen].
func ListenConfig(databaseURL, applicationName string) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	prepare(c, applicationName)
	return c, nil
}

// prepare sets what every connection needs: a name that a DBA recognises in
// pg_stat_activity; a deadline on connecting; a way to notice a link that went
// dark, which PostgreSQL's protocol has no ping for; and no prepared statements,
// which a pooler between may not know.
func prepare(c *pgx.ConnConfig, applicationName string) {
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = applicationName
	}
	// Else a role's or a database's own setting decides how text arrives.
	c.RuntimeParams["client_encoding"] = "UTF8"
	if c.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3,
	}}
	c.DialFunc = dialer.DialContext
}

// head is what a poll asks for.
type head struct {
	revision Revision
	channel  string
	standby  bool
	database string     // which one this is
	baseAt   *time.Time // when the commit was made that has the snapshot's revision here; nil: not known
	digest   int64
	triggers string // what is wrong with them; "" for nothing
	version  string // see versionColumn
}

// databaseColumn tells databases apart, clones and restored ones too; a standby
// is the same as its primary.
const databaseColumn = `(SELECT d.oid FROM pg_database d WHERE d.datname = current_database())::text || '/' || (SELECT system_identifier FROM pg_control_system())::text`

// baseColumn is when the commit was made that has revision $1 here.
const baseColumn = `(SELECT c.at FROM public.settings_commits c WHERE c.revision = $1)`

// triggersColumn is what is wrong with the triggers, or empty: they stand
// as they were made if they are ENABLE ALWAYS.
const triggersColumn = `
	(SELECT coalesce(string_agg(want.name || CASE t.tgenabled
	          WHEN 'D' THEN ' is disabled' WHEN 'O' THEN ' is skipped by replicas' WHEN 'R' THEN ' runs on replicas only'
	          ELSE ' is missing' END, ', ' ORDER BY want.name), '')
	   FROM (VALUES ('settings_stamp', 'public.platform_settings'), ('settings_row', 'public.platform_settings'),
	                ('settings_truncate', 'public.platform_settings'), ('settings_commit', 'public.settings_pending')) want (name, owner)
	   LEFT JOIN pg_trigger t ON t.tgname = want.name AND t.tgrelid = to_regclass(want.owner)
	  WHERE t.tgenabled IS DISTINCT FROM 'A')`

// firingColumn says whether all of them fire for an ordinary session: else a
// change has no revision, and a revision says nothing.
const firingColumn = `
	(SELECT count(*) = 4 FROM pg_trigger t
	  WHERE t.tgenabled IN ('A', 'O') AND t.tgrelid IN ('public.platform_settings'::regclass, 'public.settings_pending'::regclass)
	    AND t.tgname IN ('settings_stamp', 'settings_row', 'settings_truncate', 'settings_commit'))`

// rowVersions is a hash of which versions of a table's rows there are. A version
// is known by its place and by the transaction that wrote it, and whoever changes
// a row writes another. It takes a quarter of the time that their content takes.
// PostgreSQL hashes no xid outside of a record, which costs: its distance from a
// fixed one is a number. Freezing leaves xmin as it is, and locks are elsewhere.
const rowVersions = `SELECT bit_xor(hashtidextended(v.ctid, age('3'::xid)::bigint - age(v.xmin))) FROM `

// versionColumn is the version of all that a head tells, of its row h: where it
// is the same again, so is the head. It holds within one session of the server:
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
	` + triggersColumn + `, ` + databaseColumn + `, ` + baseColumn + `, ` + versionColumn

func (h *head) columns() []any {
	return []any{&h.revision, &h.channel, &h.standby, &h.digest, &h.triggers, &h.database, &h.baseAt, &h.version}
}

// readHead reads the head, and what it says of a snapshot's revision.
func readHead(ctx context.Context, conn *pgx.Conn, base *Snapshot) (h head, err error) {
	err = conn.QueryRow(ctx, `SELECT `+headColumns+` FROM public.settings_head h`, base.revision).Scan(h.columns()...)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errNoHead
	}
	if err != nil {
		return head{}, fmt.Errorf("read the head: %w", err)
	}
	return h, nil
}

// settingColumns are what scanSetting scans, of a row s of the table.
const settingColumns = `
	s.key, s.value_bool, s.value_int, s.value_float, s.value_text, s.value_time, s.value_json::text,
	s.description, s.public, s.updated_at, s.updated_by, hash_record_extended(s, 0),
	coalesce((SELECT max(ch.revision) FROM public.settings_changes ch WHERE ch.key = s.key), 0)`

// read reads the whole table in one statement, and so as of one commit
// (PostgreSQL manual, 13.2.1). LIMIT tells the planner that the head is one row;
// else it guesses hundreds, and JIT-compiles the query for 70 ms.
func (e *Engine) read(ctx context.Context, conn *pgx.Conn) (*reading, error) {
	e.metrics.reads.Inc()
	r := &reading{began: time.Now(), base: e.Current(), settings: map[string]*Setting{}}
	rows, err := conn.Query(ctx, `
		SELECT h.revision, (SELECT c.at FROM public.settings_commits c WHERE c.revision = h.revision), `+baseColumn+`,
		       pg_is_in_recovery(), s.key IS NOT NULL, `+settingColumns+`
		  FROM (SELECT revision FROM public.settings_head LIMIT 1) h
		  LEFT JOIN public.platform_settings s ON true`, r.base.revision)
	if err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	defer rows.Close()
	heads := 0
	for rows.Next() {
		heads++
		var standby, exists bool
		var row settingRow
		if err := rows.Scan(append([]any{&r.revision, &r.at, &r.baseAt, &standby, &exists}, row.columns()...)...); err != nil {
			return nil, fmt.Errorf("read the settings: %w", err)
		}
		if standby {
			return nil, fmt.Errorf("read the settings: %w", errStandby)
		}
		if exists {
			s := row.setting()
			r.settings[s.Key] = s
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	if heads == 0 {
		return nil, fmt.Errorf("read the settings: %w", errNoHead)
	}
	return r, nil
}

// settingRow is where a row of the table is scanned to; everything may be null,
// for an empty table.
type settingRow struct {
	key, description, updatedBy *string
	boolean, public             *bool
	integer, digest             *int64
	float                       *float64
	text, json                  *string
	time, updatedAt             *time.Time
	revision                    Revision
}

func (r *settingRow) columns() []any {
	return []any{
		&r.key, &r.boolean, &r.integer, &r.float, &r.text, &r.time, &r.json,
		&r.description, &r.public, &r.updatedAt, &r.updatedBy, &r.digest, &r.revision,
	}
}

func (r *settingRow) setting() *Setting {
	s := &Setting{
		Key: *r.key, Description: *r.description, Public: *r.public, Revision: r.revision,
		UpdatedAt: r.updatedAt.UTC(), UpdatedBy: *r.updatedBy, digest: *r.digest,
	}
	switch {
	case r.boolean != nil:
		s.Value = boolValue(*r.boolean)
	case r.integer != nil:
		s.Value = intValue(*r.integer)
	case r.float != nil:
		s.Value = floatValue(*r.float)
	case r.text != nil:
		s.Value = textValue(*r.text)
	case r.time != nil:
		s.Value = timeValue(*r.time)
	case r.json != nil:
		s.Value = jsonValue(*r.json)
	}
	return s
}
