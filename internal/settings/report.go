package settings

import (
	"context"
	"fmt"

	"platform-settings/settings"
)

// Fleet reports which pods have a revision in force; 0 means the last one. It returns a
// [*settings.NoSuchRevisionError] or [settings.ErrFleetUnknown] together with as much of
// the report as there is.
func (l *lookout) Fleet(ctx context.Context, revision settings.Revision) (settings.Fleet, error) {
	w := l.enter(wait{revision: revision, hurried: true})
	select {
	case <-w.over:
		return w.last.report(revision)
	case <-ctx.Done():
		l.leave(w)
		return settings.Fleet{Revision: revision}, fmt.Errorf("%w: %w", settings.ErrFleetUnknown, context.Cause(ctx))
	}
}

// AwaitFleet waits until each pod has a revision in force, and returns the last report.
// If ctx ends first, that is not an error: it still returns a report, which may take a
// look of some seconds. Pods that were lost when the wait began do not hold it up; those
// that become lost during the wait do. Errors are those of Fleet. It does not wait for a
// revision that does not exist.
func (l *lookout) AwaitFleet(ctx context.Context, revision settings.Revision) (settings.Fleet, error) {
	return l.await(ctx, wait{revision: revision})
}

// AwaitWrite is AwaitFleet for a revision that a write on this pod has just returned.
// Here a [*settings.NoSuchRevisionError] means that a failover has lost the commit.
func (l *lookout) AwaitWrite(ctx context.Context, revision settings.Revision) (settings.Fleet, error) {
	return l.await(ctx, wait{revision: revision, written: true})
}
