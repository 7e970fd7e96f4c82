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
		answer.Unknown = "This pod cannot say which pods have it in force; its log and /readyz have the cause."
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

// fleet reports who has a revision in force, ?revision=N, or the last one; with
// Prefer: wait, once each pod has it or the wait is over.
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

// answerWrite answers a write that is committed, with which pods have it in force:
// at once, or if the caller prefers to wait, when the fleet has it or the wait is
// over. 202 says that some pod may still be serving the old state, or that nobody
// waited to find out. Whatever the report, the write is not refused.
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

// noteOf says in words what a write's answer is not to leave to be guessed.
func noteOf(revision settings.Revision, fleet wire.Fleet, err error, asked, crowded bool) string {
	stands := fmt.Sprintf("The change is committed as revision %d and stands. ", revision)
	lost, ok := errors.AsType[*settings.NoSuchRevisionError](err)
	switch {
	case ok:
		return fmt.Sprintf("The change was committed as revision %d, but the database's last one is %d now: a failover may have lost the change. Read it again.", revision, lost.Head)
	case crowded:
		return stands + fmt.Sprintf("It was not waited for: %d writes wait on this pod already. GET /api/v1/admin/fleet?revision=%d says which pods have it in force.", maxWriteWaits, revision)
	case asked && !fleet.Converged:
		return stands + stragglers(fleet)
	}
	return ""
}

// awaitFleet ends with the wait, when the caller goes away, and when the pod
// stops: the drain is shorter than a wait may be.
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

// waited tells the caller that the wait was long enough.
func waited(c echo.Context, wait time.Duration) {
	c.Response().Header().Set(headerPreferenceApplied, fmt.Sprintf("wait=%d", int(wait.Seconds())))
}

// stragglers says in words who may still be serving the old state.
func stragglers(f wire.Fleet) string {
	var words []string
	if f.Unknown != "" {
		words = append(words, f.Unknown)
	}
	if len(f.Behind) > 0 {
		words = append(words, "Not in force, as far as is known, on: "+strings.Join(f.Behind, ", ")+".")
	}
	var lost []string
	for _, p := range f.Pods {
		if p.State == string(settings.PodLost) && p.ClosedAt == nil && p.Lag > 0 {
			lost = append(lost, p.Pod)
		}
	}
	if len(lost) > 0 {
		words = append(words, "Lost, so gone or perhaps still serving the old state: "+strings.Join(lost, ", ")+".")
	}
	return strings.Join(words, " ")
}
