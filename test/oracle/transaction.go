package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// transaction is one transaction of an SQL writer. It is planned before it runs, as a
// pure function of the writer's random numbers.
type transaction struct {
	tag       string // goes into the history as the reason
	pause     time.Duration
	isolation pgx.TxIsoLevel
	steps     []step
	rollback  bool // at the end, instead of COMMIT
}

// step is a statement, after a pause. One that changes rows returns their keys.
type step struct {
	think time.Duration
	does  doing
	sql   string
	args  []any
	also  string // a key whose row it locks besides those that it returns
}

type doing int

const (
	changes doing = iota
	truncates
	savepoint  // SAVEPOINT s
	rollbackTo // ROLLBACK TO s
	fails      // must be refused, and is rolled back to the savepoint
)

func (tx transaction) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s begin %s;", tx.tag, tx.isolation)
	for _, s := range tx.steps {
		if s.think > 0 {
			fmt.Fprintf(&b, " think %v;", s.think)
		}
		args := fmt.Sprintf("%.60q", s.args)
		fmt.Fprintf(&b, " %s %s;", strings.Join(strings.Fields(s.sql), " "), args[:min(len(args), 200)])
	}
	return b.String() + map[bool]string{true: " rollback", false: " commit"}[tx.rollback]
}

// planTransaction draws the next transaction.
func planTransaction(rng *rand.Rand, tag string) transaction {
	tx := transaction{tag: tag, pause: time.Duration(rng.IntN(24)) * time.Millisecond, isolation: pgx.ReadCommitted}
	switch n := rng.IntN(100); {
	case n < 42:
		tx.steps = several(rng, tag)
	case n < 58:
		tx.steps = []step{setPair(rng, tag)}
		if rng.IntN(4) == 0 {
			tx.steps = append(tx.steps, several(rng, tag)...)
		}
	case n < 74:
		tx.steps = slices.Concat(several(rng, tag), undone(rng, tag), several(rng, tag))
	case n < 78:
		tx.steps = thereAndBack(rng, tag)
	case n < 82:
		tx.steps = rename(rng)
	case n < 88:
		tx.steps = []step{throwSwitch(rng, tag)}
	case n < 93:
		tx.steps = []step{upsert(valueOf(rng, large[rng.IntN(len(large))], tag)), setPair(rng, tag)}
	case n < 96:
		tx.steps = inBulk(rng, tag)
	case n < 98:
		tx.steps = anotherKind(rng, tag)
	default:
		tx.steps = []step{{does: truncates, sql: `TRUNCATE platform_settings`}}
		if rng.IntN(3) > 0 {
			tx.steps = append(tx.steps, setPair(rng, tag))
			tx.steps = append(tx.steps, several(rng, tag)...)
		}
	}
	truncating := slices.ContainsFunc(tx.steps, func(s step) bool { return s.does == truncates })
	if rng.IntN(10) == 0 {
		tx.isolation = pgx.RepeatableRead
	}
	switch n := rng.IntN(100); {
	case truncating: // it blocks everybody else
	case n < 3:
		tx.steps[rng.IntN(len(tx.steps))].think = time.Duration(rng.IntN(400)) * time.Millisecond
	case n < 25:
		tx.steps[rng.IntN(len(tx.steps))].think = time.Duration(rng.IntN(30)) * time.Millisecond
	}
	tx.rollback = rng.IntN(12) == 0
	return tx
}

// several is one statement or a few. They take the keys mostly in order, so that
// deadlocks happen, but rarely.
func several(rng *rand.Rand, tag string) []step {
	list := slices.Clone(plain)
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	list = list[:1+rng.IntN(4)]
	if rng.IntN(5) > 0 {
		slices.SortFunc(list, func(a, b key) int { return strings.Compare(a.name, b.name) })
	}
	var steps []step
	for _, k := range list {
		steps = append(steps, one(rng, k, tag))
	}
	return steps
}

func one(rng *rand.Rand, k key, tag string) step {
	v := valueOf(rng, k, tag)
	switch n := rng.IntN(100); {
	case n < 40:
		return upsert(v)
	case n < 60:
		return step{sql: fmt.Sprintf(`UPDATE platform_settings SET value_%s = $2::text::%s WHERE key = $1 RETURNING key`, k.kind, sqlTypes[k.kind]), args: []any{k.name, v.text}}
	case n < 70:
		return step{sql: fmt.Sprintf(`INSERT INTO platform_settings (key, value_%s) VALUES ($1, $2::text::%s) ON CONFLICT DO NOTHING RETURNING key`, k.kind, sqlTypes[k.kind]), args: []any{k.name, v.text}}
	case n < 85:
		return step{sql: `DELETE FROM platform_settings WHERE key = $1 RETURNING key`, args: []any{k.name}}
	case n < 92:
		return step{sql: `UPDATE platform_settings SET description = $2, public = NOT public WHERE key = $1 RETURNING key`, args: []any{k.name, tag}}
	default: // changes nothing
		return step{sql: `UPDATE platform_settings SET description = description, updated_by = 'nobody' WHERE key = $1 RETURNING key`, args: []any{k.name}}
	}
}

func upsert(v value) step {
	return step{
		sql: fmt.Sprintf(`INSERT INTO platform_settings (key, value_%[1]s) VALUES ($1, $2::text::%[2]s)
			ON CONFLICT (key) DO UPDATE SET value_%[1]s = excluded.value_%[1]s RETURNING key`, v.kind, sqlTypes[v.kind]),
		args: []any{v.name, v.text},
	}
}

func setPair(rng *rand.Rand, tag string) step {
	p := pairs[rng.IntN(len(pairs))]
	if rng.IntN(6) == 0 {
		return step{sql: `DELETE FROM platform_settings WHERE key IN ($1, $2) RETURNING key`, args: []any{p[0], p[1]}}
	}
	return step{
		sql: `INSERT INTO platform_settings (key, value_text) VALUES ($1, $3), ($2, $3)
			ON CONFLICT (key) DO UPDATE SET value_text = excluded.value_text RETURNING key`,
		args: []any{p[0], p[1], tag},
	}
}

// undone is a change that is rolled back to a savepoint, on purpose or because of an
// error.
func undone(rng *rand.Rand, tag string) []step {
	steps := []step{{does: savepoint, sql: `SAVEPOINT s`}}
	switch rng.IntN(3) {
	case 0:
		steps = append(steps, step{does: fails, sql: `INSERT INTO platform_settings (key, value_int, value_text) VALUES ('two.values', 1, $1)`, args: []any{tag}})
	case 1:
		steps = append(steps, setPair(rng, tag+" undone"))
	}
	return append(append(steps, several(rng, tag+" undone")...), step{does: rollbackTo, sql: `ROLLBACK TO s`})
}

// thereAndBack makes a change and takes it back, so nothing changes.
func thereAndBack(rng *rand.Rand, tag string) []step {
	if rng.IntN(2) == 0 {
		flip := step{sql: `UPDATE platform_settings SET public = NOT public WHERE key LIKE 'pair.%' OR key LIKE 'int.%' RETURNING key`}
		return []step{flip, flip}
	}
	return []step{
		{sql: `INSERT INTO platform_settings (key, value_text) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING key`, args: []any{"gone." + tag[:1], tag}},
		{sql: `DELETE FROM platform_settings WHERE key = $1 RETURNING key`, args: []any{"gone." + tag[:1]}},
	}
}

func rename(rng *rand.Rand) []step {
	from, to := "text.3", moved
	if rng.IntN(2) == 0 {
		from, to = to, from
	}
	return []step{
		{sql: `DELETE FROM platform_settings WHERE key = $1 RETURNING key`, args: []any{to}},
		{sql: `UPDATE platform_settings SET key = $2 WHERE key = $1 RETURNING key`, args: []any{from, to}, also: from},
	}
}

func throwSwitch(rng *rand.Rand, tag string) step {
	switch rng.IntN(4) {
	case 0:
		return step{sql: `SELECT 'maintenance_mode' FROM maintenance_on($1, read_only => $2::text::boolean)`, args: []any{tag, fmt.Sprint(rng.IntN(2) == 0)}}
	case 1:
		return step{sql: `SELECT 'maintenance_mode' FROM maintenance_off()`}
	}
	return upsert(valueOf(rng, key{"maintenance_mode", "bool"}, tag))
}

func inBulk(rng *rand.Rand, tag string) []step {
	if rng.IntN(3) == 0 {
		return []step{{sql: `DELETE FROM platform_settings WHERE key LIKE 'bulk.%' RETURNING key`}}
	}
	return []step{{
		sql: `INSERT INTO platform_settings (key, value_text) SELECT 'bulk.' || i, $1 FROM generate_series(1, $2::int) i ORDER BY 1
			ON CONFLICT (key) DO UPDATE SET value_text = excluded.value_text RETURNING key`,
		args: []any{tag, 1 + rng.IntN(bulk)},
	}}
}

func anotherKind(rng *rand.Rand, tag string) []step {
	kind := []string{"bool", "int", "float", "text", "time", "json"}[rng.IntN(6)]
	v := valueOf(rng, key{any1, kind}, tag)
	return []step{
		{sql: `DELETE FROM platform_settings WHERE key = $1 RETURNING key`, args: []any{any1}},
		{
			sql:  fmt.Sprintf(`INSERT INTO platform_settings (key, value_%s) VALUES ($1, $2::text::%s) RETURNING key`, kind, sqlTypes[kind]),
			args: []any{any1, v.text},
		},
	}
}
