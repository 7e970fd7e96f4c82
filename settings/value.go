package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// Kind is the type of a setting's value. A setting's kind never changes.
type Kind uint8

// There is one kind for each value column of the table.
const (
	KindBool Kind = iota + 1
	KindInt
	KindFloat
	KindText
	KindTime
	KindJSON
)

var kindNames = [...]string{KindBool: "bool", KindInt: "int", KindFloat: "float", KindText: "text", KindTime: "time", KindJSON: "json"}

// ParseKind reads a kind's name. The error is an [*InvalidError].
func ParseKind(name string) (Kind, error) {
	for k := KindBool; k <= KindJSON; k++ {
		if kindNames[k] == name {
			return k, nil
		}
	}
	return 0, &InvalidError{Field: "kind", Why: `must be one of "bool", "int", "float", "text", "time", "json"`}
}

func (k Kind) String() string {
	if k < KindBool || k > KindJSON {
		return "none"
	}
	return kindNames[k]
}

// MaxValueBytes is the longest text or JSON value, in bytes of UTF-8.
const MaxValueBytes = 64 << 10

// Value is a value together with its kind. Values can be compared with ==. The zero
// Value has no kind.
type Value struct {
	kind Kind
	bits int64  // bool: 0 or 1; float: IEEE 754; time: microseconds since 1970
	text string // text; json, without insignificant white space
}

// BoolOf is a value of kind bool. Like the other constructors, it does not check the
// value; [Value.Check] does.
func BoolOf(v bool) Value {
	if v {
		return Value{kind: KindBool, bits: 1}
	}
	return Value{kind: KindBool}
}

// IntOf is a value of kind int.
func IntOf(v int64) Value { return Value{kind: KindInt, bits: v} }

// FloatOf is a value of kind float.
func FloatOf(v float64) Value { return Value{kind: KindFloat, bits: int64(math.Float64bits(v))} }

// TextOf is a value of kind text.
func TextOf(v string) Value { return Value{kind: KindText, text: v} }

// TimeOf is a value of kind time. It drops fractions of a microsecond, which PostgreSQL
// does not store (manual, 8.5 Date/Time Types).
func TimeOf(v time.Time) Value { return Value{kind: KindTime, bits: v.UnixMicro()} }

// JSONOf is a value of kind json. It removes insignificant white space, so that a value
// is the same no matter which way it came.
func JSONOf(text string) Value {
	compact := bytes.NewBuffer(make([]byte, 0, len(text)))
	if err := json.Compact(compact, []byte(text)); err == nil {
		text = compact.String()
	}
	return Value{kind: KindJSON, text: text}
}

// Kind of the value.
func (v Value) Kind() Kind { return v.kind }

// Bool is the value of a bool. For a value of another kind, this and the other
// accessors return their zero value.
func (v Value) Bool() bool { return v.kind == KindBool && v.bits != 0 }

// Int is the value of an int.
func (v Value) Int() int64 {
	if v.kind != KindInt {
		return 0
	}
	return v.bits
}

// Float is the value of a float.
func (v Value) Float() float64 {
	if v.kind != KindFloat {
		return 0
	}
	return math.Float64frombits(uint64(v.bits))
}

// Text is the value of a text.
func (v Value) Text() string {
	if v.kind != KindText {
		return ""
	}
	return v.text
}

// Time is the value of a time, in UTC.
func (v Value) Time() time.Time {
	if v.kind != KindTime {
		return time.Time{}
	}
	return time.UnixMicro(v.bits).UTC()
}

// JSON is the value of a json, as text.
func (v Value) JSON() string {
	if v.kind != KindJSON {
		return ""
	}
	return v.text
}

// ParseValue reads a value of a kind from JSON: a bool from true or false, an int or a
// float from a number, a text from a string, a time from a string in RFC 3339, and a
// json from anything. An int must have neither a fraction nor an exponent. The error is
// an [*InvalidError].
func ParseValue(kind Kind, raw json.RawMessage) (Value, error) {
	invalid := func(why string) (Value, error) {
		return Value{}, &InvalidError{Field: "value", Why: "must be " + why}
	}
	switch kind {
	case KindBool:
		switch string(raw) {
		case "true":
			return BoolOf(true), nil
		case "false":
			return BoolOf(false), nil
		}
		return invalid("true or false, for kind bool")
	case KindInt:
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil {
			return invalid("a whole number of at most 64 bits, for kind int")
		}
		return IntOf(n), nil
	case KindFloat:
		var f *float64
		if err := json.Unmarshal(raw, &f); err != nil || f == nil || *f == 0 && bytes.ContainsAny(mantissa(raw), "123456789") {
			return invalid("a number that fits 64 bits, for kind float")
		}
		return FloatOf(*f), nil
	case KindText:
		var s *string
		if err := json.Unmarshal(raw, &s); err != nil || s == nil {
			return invalid("a string, for kind text")
		}
		return TextOf(*s), nil
	case KindTime:
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return invalid(`a string such as "2030-01-31T08:00:00Z", for kind time`)
		}
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return invalid(`a time such as "2030-01-31T08:00:00Z" (RFC 3339), for kind time`)
		}
		return TimeOf(t), nil
	case KindJSON:
		if !json.Valid(raw) {
			return invalid("JSON")
		}
		return JSONOf(string(raw)), nil
	}
	return Value{}, &InvalidError{Field: "kind", Why: "is required"}
}

// mantissa is a JSON number without its exponent.
func mantissa(raw []byte) []byte {
	digits, _, _ := bytes.Cut(bytes.ToLower(raw), []byte("e"))
	return digits
}

// Check checks a value against the rules that the table has for its kind. It returns
// nil or an [*InvalidError].
func (v Value) Check() error {
	switch v.kind {
	case KindFloat:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return &InvalidError{Field: "value", Why: "must be finite"}
		}
	case KindTime:
		if y := v.Time().Year(); y < 1 || y > 9999 || v.Time().IsZero() { // the zero time means: not set
			return &InvalidError{Field: "value", Why: "must be in the years 1 to 9999, in UTC"}
		}
	case KindText, KindJSON:
		if len(v.text) > MaxValueBytes {
			return &InvalidError{Field: "value", Why: fmt.Sprintf("must take at most %d bytes, not %d", MaxValueBytes, len(v.text))}
		}
		if !utf8.ValidString(v.text) {
			return &InvalidError{Field: "value", Why: "must be UTF-8"}
		}
		for i := range len(v.text) {
			if v.text[i] == 0 {
				return &InvalidError{Field: "value", Why: "must not hold the character U+0000"}
			}
		}
	}
	return nil
}

// MarshalJSON is the inverse of [ParseValue].
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.kind {
	case KindBool:
		return strconv.AppendBool(nil, v.bits != 0), nil
	case KindInt:
		return strconv.AppendInt(nil, v.bits, 10), nil
	case KindFloat:
		return json.Marshal(v.Float())
	case KindText:
		return json.Marshal(v.text)
	case KindTime:
		return json.Marshal(v.Time().Format(time.RFC3339Nano))
	case KindJSON:
		return []byte(v.text), nil
	}
	return []byte("null"), nil
}
