package settings

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"platform-settings/settings"
)

// handler is called by pgxlisten on its read loop. So nothing here waits for the
// database, except the first read.
type handler struct {
	l       *listener
	mute    *time.Timer // ends the connection if LISTEN is not answered
	wasLive bool
	lineage settings.Lineage // the first read's
}

// HandleBacklog runs right after LISTEN, on the same connection. Its full read makes
// the listener live.
func (h *handler) HandleBacklog(ctx context.Context, _ string, conn *pgx.Conn) error {
	h.mute.Stop()
	ctx, cancel := timeout(ctx, h.l.leeway.of(readTimeout))
	defer cancel()
	l := h.l
	l.counts.reads.Inc()
	r, err := readTable(ctx, conn, l.keeper.Begin())
	if err != nil {
		return err
	}
	h.lineage = r.Base.Lineage()
	switch l.keeper.Adopt(r) {
	case settings.AskAgain:
		l.looks.raise()
	case settings.WentBack:
		h.lineage = l.keeper.Begin().Lineage()
	}
	l.acks.owe()
	l.hear(r.Revision)
	h.wasLive = true
	l.live.Store(true)
	l.keeper.Problem("listener", "", nil)
	return nil
}

// HandleNotification hands a commit to the keeper. If the payload cannot be read, it
// has the table read instead, and keeps the connection.
func (h *handler) HandleNotification(_ context.Context, n *pgconn.Notification, _ *pgx.Conn) error {
	l := h.l
	l.count.Add(1)
	c, err := parseNotification(n.Payload)
	if err != nil {
		l.counts.unreadable.Inc()
		l.looks.raise()
		return nil
	}
	l.counts.commits.Inc()
	l.hear(c.Revision)
	c.Lineage = h.lineage
	switch l.keeper.Apply(&c.Commit) {
	case settings.Applied:
		l.acks.owe()
	case settings.Old:
		l.counts.old.Inc()
	case settings.Gap:
		l.counts.gaps.Inc()
		l.looks.raise()
	}
	if c.awaited { // after Apply, so that the acknowledgement includes it
		l.acks.await(c.Revision, l.keeper.Current().Revision())
	}
	return nil
}
