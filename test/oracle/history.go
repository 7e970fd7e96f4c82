package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"
)

// commit is one commit of the history.
type commit struct {
	revision      int64
	actor, reason string
	changes       []change
}

// change is what a commit did to one key; nil means that there is no such setting.
type change struct {
	key           string
	before, after *setting
}

// readHistory reads the whole history, as the view shows it.
func readHistory(ctx context.Context, conn *pgx.Conn) ([]commit, error) {
	rows, err := conn.Query(ctx, `
		SELECT revision, actor, coalesce(reason, ''), key, before::text, after::text
		  FROM settings_history ORDER BY revision, key`)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	defer rows.Close()
	var commits []commit
	for rows.Next() {
		var c commit
		var ch change
		var before, after *string
		if err := rows.Scan(&c.revision, &c.actor, &c.reason, &ch.key, &before, &after); err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		if ch.before, err = image(before); err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		if ch.after, err = image(after); err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		if len(commits) == 0 || commits[len(commits)-1].revision != c.revision {
			commits = append(commits, c)
		}
		last := &commits[len(commits)-1]
		last.changes = append(last.changes, ch)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	return commits, nil
}

func image(row *string) (*setting, error) {
	if row == nil {
		return nil, nil
	}
	_, s, err := parseRow([]byte(*row))
	return s, err
}

// replay makes the history's changes one after the other, beginning with an empty
// table, and returns the table as of each revision. It also reports where the
// history contradicts itself: a missing revision, a change that finds another row
// than it says, a change that changes nothing.
func replay(commits []commit) (states []state, contradictions []string) {
	complain := func(format string, args ...any) {
		contradictions = append(contradictions, fmt.Sprintf(format, args...))
	}
	states = []state{{}}
	for i, c := range commits {
		if c.revision != int64(i)+1 {
			complain("revision %d follows on %d in the history", c.revision, i)
			return states, contradictions
		}
		next := maps.Clone(states[i])
		for _, ch := range c.changes {
			found := next[ch.key]
			if !sameRow(found, ch.before) {
				complain("revision %d (%s) changed %q from %+v, but it was %+v by then", c.revision, c.reason, ch.key, ch.before, found)
			}
			if sameContent(ch.before, ch.after) {
				complain("revision %d (%s) changed nothing of %q: %+v", c.revision, c.reason, ch.key, ch.after)
			}
			if ch.after == nil {
				delete(next, ch.key)
				continue
			}
			s := *ch.after
			s.Revision = c.revision
			next[ch.key] = &s
		}
		states = append(states, next)
	}
	return states, contradictions
}

// sameRow compares two settings without their revisions, which the table does not
// have.
func sameRow(a, b *setting) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Revision, y.Revision = 0, 0
	return x == y
}

// sameContent compares two rows, ignoring who wrote them and when.
func sameContent(a, b *setting) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Revision, x.UpdatedAt, x.UpdatedBy = y.Revision, y.UpdatedAt, y.UpdatedBy
	return x == y
}

// readTable reads the table and the head as of one commit, in one statement.
func readTable(ctx context.Context, conn *pgx.Conn) (text []byte, err error) {
	err = conn.QueryRow(ctx, `
		SELECT json_build_object('revision', h.revision, 'rows', (
		         SELECT json_agg(json_build_object('row', to_jsonb(s), 'revision',
		                  (SELECT max(c.revision) FROM settings_changes c WHERE c.key = s.key)) ORDER BY s.key)
		           FROM platform_settings s))
		  FROM settings_head h`).Scan(&text)
	if err != nil {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	return text, nil
}

func parseTable(text []byte) (revision int64, table state, err error) {
	var read struct {
		Revision int64
		Rows     []struct {
			Row      json.RawMessage
			Revision int64
		}
	}
	if err := json.Unmarshal(text, &read); err != nil {
		return 0, nil, fmt.Errorf("read the table: %w", err)
	}
	table = make(state, len(read.Rows))
	for _, r := range read.Rows {
		key, s, err := parseRow(r.Row)
		if err != nil {
			return 0, nil, fmt.Errorf("read the table: %w", err)
		}
		s.Revision = r.Revision
		table[key] = s
	}
	return read.Revision, table, nil
}
