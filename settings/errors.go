package settings

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound: no setting has that key.
	ErrNotFound = errors.New("no such setting")

	// ErrMayNotCreate: the setting does not exist, and the caller may only
	// change those that do.
	ErrMayNotCreate = errors.New("the setting does not exist, and this caller may not create one")

	// ErrTriggersOff: the table's triggers are off. The change would get no revision,
	// and no pod would hear of it. Nothing was changed.
	ErrTriggersOff = errors.New("the triggers of platform_settings are off")

	// ErrUnavailable: the database could not be reached or did not answer in
	// time. Nothing was changed.
	ErrUnavailable = errors.New("the database is not available")

	// ErrOutcomeUnknown: the connection was lost during COMMIT. The change may
	// or may not have been made; it is safe to make it again.
	ErrOutcomeUnknown = errors.New("the connection was lost during COMMIT; the change may or may not have been made")

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

// ConflictError: a precondition failed. Have is the setting's revision, 0 if there is
// no such setting.
type ConflictError struct {
	Key  string
	Have Revision
}

func (e *ConflictError) Error() string {
	if e.Have == 0 {
		return fmt.Sprintf("setting %q does not exist", e.Key)
	}
	return fmt.Sprintf("setting %q is at revision %d", e.Key, e.Have)
}

// NotInForceError: the change is committed, but did not come into force on this pod in
// time.
type NotInForceError struct {
	Revision Revision
	Cause    error
}

func (e *NotInForceError) Error() string {
	return fmt.Sprintf("committed as revision %d, but not in force on this pod yet: %v", e.Revision, e.Cause)
}

func (e *NotInForceError) Unwrap() error { return e.Cause }
