package httpx

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"

	"platform-settings/internal/wire"
	"platform-settings/settings"
)

func fleetOf(f settings.Fleet, err error) wire.Fleet {
	answer := wire.Fleet{
		Revision: int64(f.Revision), Converged: f.Converged,
		Pods: []wire.Pod{}, Behind: f.Named(settings.PodBehind), Lost: f.Named(settings.PodLost),
	}
	if err != nil {
		answer.Unknown = "This pod cannot say which pods have the revision in force; its log and /readyz give the cause."
	}
	for _, p := range f.Pods {
		answer.Pods = append(answer.Pods, wire.Pod{
			Pod: p.Name, Revision: int64(p.Revision), State: string(p.State), Lag: p.Lag, LagSeconds: p.BehindFor.Seconds(),
			AppliedAt: orNull(p.AppliedAt), LastSeen: orNull(p.LastSeen), StartedAt: orNull(p.StartedAt), ClosedAt: orNull(p.ClosedAt),
			Source: string(p.Source), Listener: p.Listener, Build: p.Build,
		})
	}
	return answer
}

// fleet reports which pods have a revision in force: the one in ?revision=N, else
// the last one. With Prefer: wait, it answers once every pod has it or the wait is
// over.
func (s *Server) fleet(c echo.Context) error {
	var revision settings.Revision
	if text := c.QueryParam("revision"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return invalid("revision", "must be a whole number from 1 on")
		}
		revision = settings.Revision(n)
	}
	wait, asked := c.Get(waitKey).(time.Duration)
	if wait > 0 {
		giveBack, err := s.waits.report(callerOf(c).name)
		if err != nil {
			return err
		}
		defer giveBack()
	}
	f, err := s.awaitFleet(c, s.engine.AwaitFleet, revision, wait)
	switch {
	case c.Request().Context().Err() != nil:
		return callerLeft.because("The caller went away while it waited.")
	case err != nil:
		return err
	}
	if asked && f.Converged {
		waited(c, wait)
	}
	return sendJSON(c, http.StatusOK, typeJSON, fleetOf(f, nil))
}

// answerWrite answers a committed write, and reports which pods have it in force.
// It answers at once, or if the caller prefers to wait, when the whole fleet has it
// or the wait is over. 202 says that some pod may still be serving the old state,
// or that there was no room to wait. The write is committed, so no report makes
// the answer an error.
func (s *Server) answerWrite(c echo.Context, status int, revision settings.Revision, answer wire.Written) error {
	wait, asked := c.Get(waitKey).(time.Duration)
	crowded := false
	if wait > 0 {
		if giveBack, ok := s.waits.write(); ok {
			defer giveBack()
		} else {
			wait, crowded = 0, true
		}
	}
	f, err := s.awaitFleet(c, s.engine.AwaitWrite, revision, wait)
	if err != nil {
		s.log.Warn("the fleet's state is unknown", zap.Int64("revision", int64(revision)), zap.Error(err), logRequestID(c))
	}
	fleet := fleetOf(f, err)
	if asked && fleet.Converged && !crowded {
		waited(c, wait)
	} else if asked {
		status = http.StatusAccepted
	}
	answer.Revision, answer.Fleet = int64(revision), fleet
	answer.Note = strings.TrimSpace(answer.Note + " " + noteOf(revision, fleet, err, asked, crowded))
	return sendJSON(c, status, typeJSON, answer)
}

// noteOf explains in words whatever a caller could misunderstand in a write's answer.
func noteOf(revision settings.Revision, fleet wire.Fleet, err error, asked, crowded bool) string {
	committed := fmt.Sprintf("The change is committed as revision %d. ", revision)
	lost, ok := errors.AsType[*settings.NoSuchRevisionError](err)
	switch {
	case ok:
		return fmt.Sprintf("The change was committed as revision %d, but the database's last one is %d now: a failover may have lost the change. Read it again.", revision, lost.Head)
	case crowded:
		return committed + fmt.Sprintf("This answer did not wait for the fleet, because %d writes are waiting on this pod already. GET /api/v1/admin/fleet?revision=%d reports which pods have it in force.", maxWriteWaits, revision)
	case asked && !fleet.Converged:
		return committed + stragglers(fleet)
	}
	return ""
}

// awaitFleet returns at the latest when the wait is over, when the caller goes
// away, or when the pod begins to drain, because a wait may be longer than a drain.
func (s *Server) awaitFleet(c echo.Context, report func(context.Context, settings.Revision) (settings.Fleet, error),
	revision settings.Revision, wait time.Duration,
) (settings.Fleet, error) {
	_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(wait + answerTimeout))
	ctx, cancel := context.WithTimeout(c.Request().Context(), wait)
	defer cancel()
	go func() {
		select {
		case <-s.draining:
			cancel()
		case <-ctx.Done():
		}
	}()
	return report(ctx, revision)
}

// waited tells the caller that its preference to wait was honoured.
func waited(c echo.Context, wait time.Duration) {
	c.Response().Header().Set(headerPreferenceApplied, fmt.Sprintf("wait=%d", int(wait.Seconds())))
}

// stragglers says in words which pods may still be serving the old state.
func stragglers(f wire.Fleet) string {
	var words []string
	if f.Unknown != "" {
		words = append(words, f.Unknown)
	}
	if len(f.Behind) > 0 {
		words = append(words, "As far as this pod knows, not yet in force on: "+strings.Join(f.Behind, ", ")+".")
	}
	var lost []string
	for _, p := range f.Pods {
		if p.State == string(settings.PodLost) && p.ClosedAt == nil && p.Lag > 0 {
			lost = append(lost, p.Pod)
		}
	}
	if len(lost) > 0 {
		words = append(words, "Lost (gone, or possibly still serving the old state): "+strings.Join(lost, ", ")+".")
	}
	return strings.Join(words, " ")
}
