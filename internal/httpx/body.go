package httpx

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
)

// field is one that a body may have, and where its value goes: a **bool,
// **int64, **string or **time.Time, which stays nil where the field is left out
// or null, or a *json.RawMessage, which takes anything.
type field struct {
	name string
	into any
}

// readBody reads a body that is one JSON object. It is strict where
// encoding/json is lenient: a misspelt or repeated field would otherwise be a
// change that was asked for and not made. A DELETE may come without a body.
func readBody(c echo.Context, fields ...field) error {
	text, err := receive(c)
	if err != nil {
		return err
	}
	if len(text) == 0 && c.Request().Method == http.MethodDelete {
		return nil
	}
	sent, err := parseObject(text, fields)
	if err != nil {
		return err
	}
	for _, f := range fields {
		if raw, ok := sent[f.name]; ok && json.Unmarshal(raw, f.into) != nil {
			return invalid(f.name, "must be "+expected(f.into))
		}
	}
	return nil
}

// receive reads the bytes, and makes sure that they mean what they say. What the
// header tells of them is refused before they have come.
func receive(c echo.Context) ([]byte, error) {
	r := c.Request()
	if coding := r.Header.Get(echo.HeaderContentEncoding); coding != "" && coding != "identity" {
		return nil, unsupportedMedia.because("The body has the content encoding %.64q. Send it as it is.", coding)
	}
	if sent := r.Header.Get(echo.HeaderContentType); sent != "" && !isJSON(sent) {
		return nil, unsupportedMedia.because("The body has the content type %.64q. Send JSON, as application/json.", sent)
	}
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			return nil, tooLarge()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, bodyTimeout.because("The body did not arrive within %v. Send it again.", bodyWait)
		}
		return nil, malformedBody.because("The body broke off. Send it again.")
	}
	// The engine may take longer than what was left of the body's time.
	_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Time{})

	if !utf8.Valid(text) {
		return nil, malformedBody.because("The body is not UTF-8. Send JSON in UTF-8.")
	}
	return text, nil
}

func tooLarge() error {
	return bodyTooLarge.because("The body has more than %d bytes. Send less.", maxBody)
}

func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && (mediaType == typeJSON || strings.HasSuffix(mediaType, "+json"))
}

// parseObject takes one JSON object apart into fields as they were sent.
func parseObject(text []byte, fields []field) (map[string]json.RawMessage, error) {
	if len(text) == 0 {
		return nil, malformedBody.because("The body is empty. Send a JSON object.")
	}
	if err := json.Unmarshal(text, new(json.RawMessage)); err != nil {
		return nil, malformedBody.because("The body is not one JSON object: %v.", err)
	}
	if escapesLoneSurrogate(text) {
		return nil, malformedBody.because(`A string has an escape from \ud800 to \udfff that is no character by itself. Send the character, or both halves of the pair.`)
	}
	// From here on it is valid, and the decoder finds no more faults.
	decoder := json.NewDecoder(bytes.NewReader(text))
	if first, _ := decoder.Token(); first != json.Delim('{') {
		return nil, malformedBody.because("The body is JSON, but not an object. Send one, such as {%q: …}.", fields[0].name)
	}
	sent := map[string]json.RawMessage{}
	for decoder.More() {
		token, _ := decoder.Token()
		var raw json.RawMessage
		_ = decoder.Decode(&raw)
		name, _ := token.(string)
		if !slices.ContainsFunc(fields, func(f field) bool { return f.name == name }) {
			return nil, notKnown(name, fields)
		}
		if _, again := sent[name]; again {
			p := repeatedField.because("The field %q stands twice. Send it once.", name)
			p.Field = name
			return nil, p
		}
		sent[name] = raw
	}
	return sent, nil
}

func notKnown(name string, fields []field) error {
	p := unknownField.because("The field %.64q is not known here; check the spelling, and upper and lower case.", name)
	for _, f := range fields {
		p.KnownFields = append(p.KnownFields, f.name)
	}
	p.Detail += " Known are: " + strings.Join(p.KnownFields, ", ") + "."
	return p
}

func expected(into any) string {
	switch into.(type) {
	case **bool:
		return "true or false"
	case **int64:
		return "a whole number"
	case **time.Time:
		return `a time such as "2030-01-31T08:00:00Z" (RFC 3339)`
	}
	return "a string"
}

// escapesLoneSurrogate looks for half of a pair, which encoding/json would
// replace without a word. In valid JSON a backslash only stands in strings.
func escapesLoneSurrogate(text []byte) bool {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return false
		}
		text = text[i:]
		high := escaped(text)
		if !utf16.IsSurrogate(high) {
			text = text[2:]
			continue
		}
		if utf16.DecodeRune(high, escaped(text[6:])) == utf8.RuneError {
			return true
		}
		text = text[12:]
	}
}

// escaped is the \uXXXX that the text begins with, 0 for anything else.
func escaped(text []byte) rune {
	if !bytes.HasPrefix(text, []byte(`\u`)) {
		return 0
	}
	n, _ := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n)
}
