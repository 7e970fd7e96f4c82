package settings

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"

	"platform-settings/settings"
)

// register is this pod's own row in the fleet's register. It says what the pod has in
// force, so that every pod can report on the whole fleet. If it fails, reports are
// incomplete, but the pod serves as before. A nil register is for a pod that is not a
// member.
type register struct {
	keeper       *settings.Keeper
	log          *zap.Logger
	name, build  string
	instance     string // identifies the process; a UUID
	started      time.Time
	ttl          time.Duration
	maxStaleness *time.Duration

	failing   atomic.Bool               // the server refused the last step
	size      atomic.Pointer[fleetSize] // as of the last poll; nil: not known
	forgotten prometheus.Counter
}

// fleetSize is the fleet in numbers, as this pod's last poll found it.
type fleetSize struct {
	current, behind, lost int64
	slowest               time.Duration // the age of the oldest commit that a pod lacks; lost pods do not count
}

// newRegister is nil for a pod without a name.
func newRegister(c Config, keeper *settings.Keeper) *register {
	r := &register{keeper: keeper, log: c.Log, name: c.Pod, build: c.Build, started: time.Now(), ttl: c.TTL}
	if c.MaxStaleness != 0 {
		r.maxStaleness = &c.MaxStaleness
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	r.instance = fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	r.register(promauto.With(c.Registerer))
	if c.Pod == "" {
		return nil
	}
	return r
}

func (r *register) register(f promauto.Factory) {
	size := func() fleetSize {
		if s := r.size.Load(); s != nil {
			return *s
		}
		return fleetSize{}
	}
	for state, count := range map[settings.PodState]func(fleetSize) int64{
		settings.PodCurrent: func(s fleetSize) int64 { return s.current },
		settings.PodBehind:  func(s fleetSize) int64 { return s.behind },
		settings.PodLost:    func(s fleetSize) int64 { return s.lost },
	} {
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "settings_fleet_pods", ConstLabels: prometheus.Labels{"state": string(state)},
			Help: "Pods in the fleet's register as of this pod's last poll, by state; all 0 if unknown.",
		}, func() float64 { return float64(count(size())) })
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "settings_fleet_slowest_seconds",
		Help: "The age of the oldest commit that some pod lacks as of this pod's last poll; lost pods do not count.",
	}, func() float64 { return size().slowest.Seconds() })
	r.forgotten = f.NewCounter(prometheus.CounterOpts{
		Name: "settings_fleet_dropped_total", Help: "Lost pods that this pod dropped from the fleet's register.",
	})
}

// pods is how many pods the last check-in counted without the lost ones; at least 1.
func (r *register) pods() int64 {
	if r == nil {
		return 1
	}
	if size := r.size.Load(); size != nil {
		return max(1, size.current+size.behind)
	}
	return 1
}

// join puts the pod into the register, before it reads on a new connection, so that
// later commits wait for it too. What it has in force counts as unknown until it has
// compared its snapshot with this server. It returns an error only if the connection
// broke.
func (r *register) join(ctx context.Context, conn *pgx.Conn) error {
	if r == nil {
		return nil
	}
	_, err := conn.Exec(ctx, `SELECT public.settings_join($1, $2, $3, $4, $5, $6)`,
		r.instance, r.name, r.build, r.started, r.ttl, r.maxStaleness)
	return r.report("join", conn, err)
}

// acknowledge reports what is in force. If the pod is no longer in the register, it
// joins again and returns false; only its next acknowledgement counts.
func (r *register) acknowledge(ctx context.Context, conn *pgx.Conn, listener string) (joined bool, err error) {
	s := r.keeper.Current()
	err = conn.QueryRow(ctx, `SELECT public.settings_acknowledge($1, $2, $3, $4)`,
		r.instance, s.Revision(), s.Source(), listener).Scan(&joined)
	if err == nil && !joined {
		return false, r.join(ctx, conn)
	}
	return true, r.report("acknowledge", conn, err)
}

// checkIn acknowledges, drops pods that were silent for too long, counts the fleet, and
// reads the head's version, all in one query.
func (r *register) checkIn(ctx context.Context, conn *pgx.Conn, listener string) (version string, joined bool, err error) {
	var fleet fleetSize
	var slowest *time.Duration
	var forgotten []string
	s := r.keeper.Current()
	err = conn.QueryRow(ctx, `SELECT `+versionColumn+`, c.joined, c.current, c.behind, c.lost, c.behind_for, c.forgotten
		  FROM public.settings_head h, public.settings_check_in($1, $2, $3, $4) c`,
		r.instance, s.Revision(), s.Source(), listener).
		Scan(&version, &joined, &fleet.current, &fleet.behind, &fleet.lost, &slowest, &forgotten)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errNoHead
	}
	if r.report("check in", conn, err) != nil || err != nil {
		return "", false, fmt.Errorf("check in: %w", err)
	}
	fleet.slowest = orZero(slowest)
	r.size.Store(&fleet)
	if len(forgotten) > 0 {
		r.forgotten.Add(float64(len(forgotten)))
		r.log.Warn("dropped pods from the fleet's register: silent for 360 of their TTLs. Those that were cut off may still be serving",
			zap.Strings("pods", forgotten))
	}
	return version, joined, nil
}

// leave takes the pod out of the register.
func (r *register) leave(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT public.settings_leave($1)`, r.instance)
	return err
}

// report turns a refusal by the server into a problem. It returns an error only if the
// connection broke.
func (r *register) report(step string, conn *pgx.Conn, err error) error {
	switch {
	case err == nil:
		r.failing.Store(false)
		r.keeper.Problem("fleet", "", nil)
	case code(err) != "" && !conn.IsClosed():
		r.failing.Store(true)
		r.keeper.Problem("fleet", "this pod cannot tell the fleet what it has in force, so nobody's report can be complete: "+explain(err), err)
	default:
		return fmt.Errorf("%s: %w", step, err)
	}
	return nil
}

// trouble says why no report can be complete: this pod cannot write its own row. It is
// nil if nothing is known to be wrong.
func (r *register) trouble() error {
	if r == nil || r.failing.Load() {
		return errors.New("this pod cannot report itself")
	}
	return nil
}

// owns says whether a row of the register is this pod's.
func (r *register) owns(p settings.Pod) bool { return r != nil && p.Instance == r.instance }
