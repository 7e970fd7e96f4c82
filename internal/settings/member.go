package settings

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// An acknowledgement waits for its share of what the fleet's take together, and
// for twice that at most.
const (
	acknowledgeShare = 100 * time.Microsecond // a pod
	leastModesty     = 10 * time.Millisecond
	mostModesty      = 125 * time.Millisecond
)

// After one, the next that nobody waits for rests, so that a commit now and then
// costs the fleet some hundred acknowledgements a second, however large it is, and
// commit after commit one a pod in mostRest.
const (
	acknowledgeRest = 2 * time.Millisecond // a pod
	mostRest        = 2 * time.Second
)

// member is this pod in the fleet's register: what it says of itself, so that
// others can tell who has a commit in force. Nothing waits for it, and its
// failure degrades the report, not the pod.
type member struct {
	engine       *Engine
	name, build  string
	instance     string // of the process, a UUID
	started      time.Time
	ttl          time.Duration
	maxStaleness *time.Duration
}

// newMember is nil for a pod without a name, which takes no part.
func newMember(e *Engine, c Config) *member {
	if c.Pod == "" {
		return nil
	}
	m := &member{engine: e, name: c.Pod, build: c.Build, started: time.Now(), ttl: e.ttl}
	if e.maxStaleness != 0 {
		m.maxStaleness = &e.maxStaleness
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	m.instance = fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	return m
}

// join puts the pod into the register, before it reads on a new connection:
// whoever commits later will find it there. What it has in force counts as
// unknown until it has compared itself with this server. Only a broken
// connection is an error.
func (m *member) join(ctx context.Context, conn *pgx.Conn) error {
	if m == nil {
		return nil
	}
	_, err := conn.Exec(ctx, `SELECT public.settings_join($1, $2, $3, $4, $5, $6)`,
		m.instance, m.name, m.build, m.started, m.ttl, m.maxStaleness)
	return m.report("join", conn, err)
}

// acknowledge says what is in force.
func (m *member) acknowledge(ctx context.Context, conn *pgx.Conn, s *Snapshot) error {
	var joined bool
	err := conn.QueryRow(ctx, `SELECT public.settings_acknowledge($1, $2, $3, $4)`,
		m.instance, s.revision, s.source, m.engine.listenerState()).Scan(&joined)
	if err == nil && !joined { // somebody emptied the register
		m.engine.poller.owe()
		return m.join(ctx, conn)
	}
	return m.report("acknowledge", conn, err)
}

// checkIn acknowledges, keeps the register and counts the fleet, in the same
// query that reads the version.
func (m *member) checkIn(ctx context.Context, conn *pgx.Conn, s *Snapshot) (version string, err error) {
	var fleet fleetSize
	var joined bool
	var slowest *time.Duration
	var forgotten []string
	err = conn.QueryRow(ctx, `SELECT `+versionColumn+`, c.joined, c.current, c.behind, c.lost, c.behind_for, c.forgotten
		  FROM public.settings_head h, public.settings_check_in($1, $2, $3, $4) c`,
		m.instance, s.revision, s.source, m.engine.listenerState()).
		Scan(&version, &joined, &fleet.current, &fleet.behind, &fleet.lost, &slowest, &forgotten)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errNoHead
	}
	if m.report("check in", conn, err) != nil || err != nil {
		return "", fmt.Errorf("check in: %w", err)
	}
	fleet.slowest = orZero(slowest)
	m.engine.fleetSize.Store(&fleet)
	if !joined {
		m.engine.poller.owe()
	}
	if len(forgotten) > 0 {
		m.engine.metrics.forgotten.Add(float64(len(forgotten)))
		m.engine.log.Warn("dropped pods from the fleet's register: silent for 360 of their TTLs. Those that were cut off may still be serving",
			zap.Strings("pods", forgotten))
	}
	return version, nil
}

// fleetSize is the fleet in numbers, as this pod's last poll found it.
type fleetSize struct {
	current, behind, lost int64
	slowest               time.Duration // the age of the oldest commit that a pod lacks which is not lost
}

// leave takes the pod out of the register.
func (m *member) leave(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT public.settings_leave($1)`, m.instance)
	return err
}

// report makes a problem of what the server refused; what remains an error is a
// connection that broke.
func (m *member) report(step string, conn *pgx.Conn, err error) error {
	switch {
	case err == nil:
		m.engine.problem("fleet", "", nil)
	case code(err) != "" && !conn.IsClosed():
		m.engine.problem("fleet", "this pod cannot tell the fleet what it has in force, so nobody's report can be complete: "+explain(err), err)
	default:
		return fmt.Errorf("%s: %w", step, err)
	}
	return nil
}
