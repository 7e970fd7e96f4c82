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

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// ErrNotFound: no setting has that key.
	ErrNotFound = errors.New("no such setting")

	// ErrMayNotCreate: the setting does not exist, and the caller may only
	// change those that do.
	ErrMayNotCreate = errors.New("the setting does not exist, and this caller may not create one")

	// ErrTriggersOff: the table's triggers are off, so that the change would have
	// no revision, and no pod would hear of it. Nothing was changed.
	ErrTriggersOff = errors.New("the triggers of platform_settings are off")

	// ErrUnavailable: the database could not be reached or did not answer in
	// time. Nothing was changed.
	ErrUnavailable = errors.New("the database is not available")

	// ErrOutcomeUnknown: the connection was lost during COMMIT. The change may
	// or may not stand; it is safe to make it again.
	ErrOutcomeUnknown = errors.New("the connection was lost during COMMIT; the change may or may not stand")

	// ErrLocked: another transaction held the setting's row for too long.
	// Nothing was changed.
	ErrLocked = errors.New("another transaction holds the setting")
)

// InvalidError says which field of a change breaks which rule.
type InvalidError struct{ Field, Why string }

func (e *InvalidError) Error() string { return e.Field + " " + e.Why }

// KindError: the value is of another kind than the setting, and a setting's
// kind never changes.
type KindError struct {
	Key        string
	Have, Want Kind
}

func (e *KindError) Error() string {
	return fmt.Sprintf("setting %q is of kind %s, not %s, and a setting's kind never changes", e.Key, e.Have, e.Want)
}

// ConflictError: a precondition failed. Have is the setting's revision, 0 where
// there is no such setting.
type ConflictError struct {
	Key  string
	Have Revision
}

func (e *ConflictError) Error() string {
	if e.Have == 0 {
		return fmt.Sprintf("setting %q does not exist", e.Key)
	}
	return fmt.Sprintf("setting %q stands at revision %d", e.Key, e.Have)
}

// NotInForceError: the change is committed and stands, but this pod could not
// confirm in time that it has it in force.
type NotInForceError struct {
	Revision Revision
	Cause    error
}

func (e *NotInForceError) Error() string {
	return fmt.Sprintf("committed as revision %d, but not in force on this pod yet: %v", e.Revision, e.Cause)
}

func (e *NotInForceError) Unwrap() error { return e.Cause }

// code is PostgreSQL's five-letter code of an error (manual, Appendix A), ""
// for an error that the server did not send.
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

// explain says in plain words what kind of failure a failed connection or read
// is, and what mends it. It holds nothing that changes from one try to the next,
// and nothing secret.
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
	return `an unexpected error; the line "degraded" in this pod's log has it` // here it may not stand: it may quote a setting
}

// broke says whether an error that the server did not send is the connection's:
// others, such as an answer that cannot be read, have nothing to do with it.
func broke(err error) bool {
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, network := errors.AsType[net.Error](err)
	return connecting || network || slices.ContainsFunc([]error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed, driver.ErrBadConn, sql.ErrConnDone,
	}, func(end error) bool { return errors.Is(err, end) })
}
