package settings

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"platform-settings/settings"
)

// look is the result of one look at the register. It is immutable once it is shared.
// Each wait makes its own report from it.
type look struct {
	number int64     // counts this pod's looks: a higher one began later
	at     time.Time // by the database's clock; zero: the database did not answer
	head   settings.Revision
	pods   []settings.Pod                  // without the fields that depend on a report's revision
	lost   map[string]bool                 // instances of lost pods
	times  map[settings.Revision]time.Time // when the commits that were asked about were made
	firing bool                            // the triggers are on, so a revision says what is in force
	err    error                           // why it is not known what the pods have in force; nil: it is known
}

// read reads the head and the register in one statement. It also asks when some commits
// were made; the first row has the answer.
func (l *look) read(ctx context.Context, conn *pgx.Conn, commits []int64) error {
	rows, err := conn.Query(ctx, `
		SELECT `+firingColumn+`, h.revision, clock_timestamp(),
		       CASE row_number() OVER register WHEN 1 THEN
		         (SELECT array_agg(c.at ORDER BY w.n) FROM unnest($1::bigint[]) WITH ORDINALITY w (revision, n)
		            LEFT JOIN public.settings_commits c ON c.revision = w.revision) END,
		       f.instance::text, f.pod, f.state, coalesce(f.revision, 0), f.behind_for, f.applied_at, f.last_seen,
		       f.started_at, f.closed_at, coalesce(f.source, ''), coalesce(f.listener, ''), f.build
		  FROM (SELECT revision FROM public.settings_head LIMIT 1) h LEFT JOIN public.settings_fleet f ON true
		WINDOW register AS (ORDER BY f.pod, f.started_at)
		 ORDER BY f.pod, f.started_at`, commits)
	if err != nil {
		return err
	}
	defer rows.Close()
	found := look{number: l.number, lost: map[string]bool{}, times: map[settings.Revision]time.Time{}}
	for rows.Next() {
		var (
			times                                    []*time.Time
			instance, name, state, build             *string
			behindFor                                *time.Duration
			appliedAt, lastSeen, startedAt, closedAt *time.Time
			p                                        settings.Pod
		)
		err := rows.Scan(&found.firing, &found.head, &found.at, &times, &instance, &name, &state, &p.Revision, &behindFor, &appliedAt, &lastSeen,
			&startedAt, &closedAt, &p.Source, &p.Listener, &build)
		if err != nil {
			return err
		}
		for i, at := range times {
			if at != nil {
				found.times[settings.Revision(commits[i])] = *at
			}
		}
		if instance == nil { // the register is empty
			continue
		}
		p.Instance, p.Name, p.State, p.Build = *instance, orZero(name), settings.PodState(orZero(state)), orZero(build)
		p.BehindFor, p.AppliedAt, p.LastSeen = orZero(behindFor), orZero(appliedAt), orZero(lastSeen)
		p.StartedAt, p.ClosedAt = orZero(startedAt), orZero(closedAt)
		if p.State == settings.PodLost {
			found.lost[p.Instance] = true
		}
		found.pods = append(found.pods, p)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if found.at.IsZero() {
		return errNoHead
	}
	*l = found
	return nil
}

// judge corrects this pod's own row, because its acknowledgement may still be under
// way. Then it decides whether a report can be made from the look.
func (l *look) judge(now *settings.Snapshot, own *register) {
	i := slices.IndexFunc(l.pods, own.owns)
	if i >= 0 && now.Source() == settings.SourceDatabase && now.Revision() != l.pods[i].Revision {
		l.pods[i].Revision, l.pods[i].AppliedAt = now.Revision(), time.Time{}
	}
	switch trouble := own.trouble(); {
	case trouble != nil:
		l.err = trouble
	case i < 0:
		l.err = errors.New("this pod is not in the register yet")
	case !l.firing:
		l.err = settings.ErrTriggersOff
	}
}

// lacks says whether the database answered that it has no such revision.
func (l *look) lacks(r settings.Revision) bool { return !l.at.IsZero() && r > l.head }

// holdUp says whether a pod may be serving something older than a revision; 0 means the
// last one. Pods that are written off do not count.
func (l *look) holdUp(r settings.Revision, writtenOff map[string]bool) bool {
	r = cmp.Or(r, l.head)
	return slices.ContainsFunc(l.pods, func(p settings.Pod) bool { return p.ServesOlder(r) && !writtenOff[p.Instance] })
}

// report makes the report on a revision; 0 means the last one.
func (l *look) report(r settings.Revision) (settings.Fleet, error) {
	f := settings.Fleet{Revision: cmp.Or(r, l.head), Pods: slices.Clone(l.pods)}
	for i := range f.Pods {
		p := &f.Pods[i]
		if p.Lag = max(0, int64(f.Revision-p.Revision)); p.Lag == 0 {
			p.BehindFor = 0
		}
		if p.State != settings.PodLost { // the view compared it with the last revision, not with this one
			p.State = settings.PodCurrent
			if p.Lag > 0 {
				p.State = settings.PodBehind
			}
		}
	}
	switch {
	case l.lacks(r):
		return f, &settings.NoSuchRevisionError{Want: r, Head: l.head}
	case l.err != nil:
		return f, fmt.Errorf("%w: %w", settings.ErrFleetUnknown, l.err)
	}
	f.Converged = !l.holdUp(r, nil)
	return f, nil
}
