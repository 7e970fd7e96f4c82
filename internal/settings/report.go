package settings

import (
	"context"
	"fmt"

	"platform-settings/settings"
)

// Fleet reports which pods have a revision in force; 0 is the last one. The error is a
// [*settings.NoSuchRevisionError] or [settings.ErrFleetUnknown], with as much of the report as
// there is.
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

// AwaitFleet waits until each pod has a revision in force, and returns the last
// report. If ctx ends first, that is no error: there is always one report, for
// which a look at the database may have to end first, in some seconds. Pods that
// were lost when the wait began do not hold it up; those that are lost meanwhile
// do. Errors are those of Fleet; a revision that does not exist is not
// waited for.
func (l *lookout) AwaitFleet(ctx context.Context, revision settings.Revision) (settings.Fleet, error) {
	return l.await(ctx, wait{revision: revision})
}

// AwaitWrite is AwaitFleet for a revision that a write on this pod has returned
// just now. Here a [*settings.NoSuchRevisionError] means that a failover has lost the
// commit.
func (l *lookout) AwaitWrite(ctx context.Context, revision settings.Revision) (settings.Fleet, error) {
	return l.await(ctx, wait{revision: revision, written: true})
}
