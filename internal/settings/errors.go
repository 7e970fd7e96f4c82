package settings

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"platform-settings/settings"
)

// code is an error's SQLSTATE (PostgreSQL manual, Appendix A), or "" if the server did
// not send the error.
func code(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

var (
	errStandby = errors.New("the server is a standby")
	errNoHead  = errors.New("the table settings_head is empty")
)

// explain says in plain words why a connection or a read failed, and what to do. The
// text is the same on each retry, and holds nothing secret.
func explain(err error) string {
	switch {
	case errors.Is(err, errPooler):
		return errPooler.Error() + "; set LISTEN_DATABASE_URL to a direct line to the server"
	case errors.Is(err, errStandby):
		return "the server is a standby; let DATABASE_URL name every server, with target_session_attrs=read-write"
	case errors.Is(err, errNoHead):
		return "the table settings_head is empty; restore its row"
	case errors.Is(err, errElse):
		return errElse.Error() + "; let both lead to one database"
	case errors.Is(err, errDeaf), errors.Is(err, errRotated), errors.Is(err, errWentBack), errors.Is(err, errMute):
		return err.Error()
	}
	switch c := code(err); {
	case strings.HasPrefix(c, "28"):
		return "the role or its password is refused (SQLSTATE " + c + ")"
	case c == "3D000":
		return "the database does not exist"
	case c == "42501":
		return "the role lacks a right that it needs"
	case c == "42P01", c == "42703", c == "42883":
		return "the schema does not fit this binary: missing or too old (run api migrate up), or too new (run a newer binary)"
	case c == "53300":
		return "the server takes no more connections"
	case c == "55000", strings.HasPrefix(c, "57P"):
		return "the server is starting, stopping, or ended the connection"
	case c == "57014":
		return "the server cancelled the query"
	case c != "":
		return "the server refused (SQLSTATE " + c + ")"
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "the server does not answer in time"
	case broke(err):
		return "the server cannot be reached, or the connection broke"
	}
	return `an unexpected error; the line "degraded" in this pod's log has it` // the error may quote a setting, and this text is public
}

// broke says whether an error that the server did not send means that the connection
// broke. Other such errors do not, for example an answer that cannot be decoded.
func broke(err error) bool {
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, network := errors.AsType[net.Error](err)
	return connecting || network || slices.ContainsFunc([]error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed, driver.ErrBadConn, sql.ErrConnDone,
	}, func(end error) bool { return errors.Is(err, end) })
}

// rules explains those of the table's constraints that [settings.Value.Check] does not
// check.
var rules = map[string]string{
	"platform_settings_well_known_kind": fmt.Sprintf(": %s is an int from 1 to %d (seconds), %s and %s are bool, %s is text, %s and %s are time",
		settings.KeyMaintenanceRetryAfter, settings.MaxRetryAfter/time.Second, settings.KeyMaintenanceMode, settings.KeyMaintenanceReadOnly,
		settings.KeyMaintenanceMessage, settings.KeyMaintenanceStartsAt, settings.KeyMaintenanceEndsAt),
	"platform_settings_json_at_most_64_kib":     fmt.Sprintf(": as PostgreSQL writes it, with spaces, a json takes at most %d bytes", settings.MaxValueBytes),
	"platform_settings_json_at_most_100_levels": ": a json has at most 100 levels",
}

// writeError translates an error before COMMIT, so nothing was changed, into one of
// the package settings. step names what failed.
func writeError(step string, err error) error {
	if errors.Is(err, errAgain) || errors.Is(err, settings.ErrTriggersOff) {
		return err
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %s: %w", settings.ErrUnavailable, step, err)
	}
	if !ok || strings.HasPrefix(pg.Code, "57P") {
		return fmt.Errorf("%w: %s: %w", errBroken, step, err)
	}
	switch {
	case pg.Code == "40001" || pg.Code == "40P01": // serialization_failure, deadlock_detected
		return fmt.Errorf("%w: %w", errAgain, err)
	case pg.Code == "55P03": // lock_not_available
		return fmt.Errorf("%w: %w", settings.ErrLocked, err)
	case pg.Code == "23514": // check_violation
		return &settings.InvalidError{Field: "value", Why: fmt.Sprintf("violates the rule %q%s", pg.ConstraintName, rules[pg.ConstraintName])}
	case strings.HasPrefix(pg.Code, "22"): // data exceptions, such as \u0000 in JSON
		return &settings.InvalidError{Field: "value", Why: "is refused by the database: " + pg.Message}
	}
	switch pg.Code[:2] {
	case "08", "25", "42", "53", "57": // connection, read-only (a standby), rights or schema, out of resources, cancelled
		return fmt.Errorf("%w: %s: %w", settings.ErrUnavailable, step, err)
	}
	return fmt.Errorf("%s: %w", step, err)
}
