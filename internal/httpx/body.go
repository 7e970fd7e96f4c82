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

// field is a field that a body may have. Its value goes into a **bool, **int64,
// **string or **time.Time, which stays nil if the field is left out or null, or
// into a *json.RawMessage, which takes anything.
type field struct {
	name string
	into any
}

// readBody reads a body that is one JSON object. It is stricter than
// encoding/json: if a misspelt or repeated field were ignored, the caller would
// believe in a change that was never made. A DELETE may have no body.
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

// receive reads the body, and checks that it is UTF-8. If the header alone shows
// that the body is not acceptable, it is refused before it arrives.
func receive(c echo.Context) ([]byte, error) {
	r := c.Request()
	if coding := r.Header.Get(echo.HeaderContentEncoding); coding != "" && coding != "identity" {
		return nil, unsupportedMedia.because("The body has the content encoding %.64q. Send it unencoded.", coding)
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
	// The write that follows may take longer than what is left of the body's time.
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

// parseObject splits a JSON object into its fields, each as it was sent.
func parseObject(text []byte, fields []field) (map[string]json.RawMessage, error) {
	if len(text) == 0 {
		return nil, malformedBody.because("The body is empty. Send a JSON object.")
	}
	if err := json.Unmarshal(text, new(json.RawMessage)); err != nil {
		return nil, malformedBody.because("The body is not one JSON object: %v.", err)
	}
	if escapesLoneSurrogate(text) {
		return nil, malformedBody.because(`A string has an escape from \ud800 to \udfff that is not a character by itself. Send the character, or both halves of the pair.`)
	}
	// The text is valid JSON from here on, so the decoder cannot fail.
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
			p := repeatedField.because("The field %q appears twice. Send it once.", name)
			p.Field = name
			return nil, p
		}
		sent[name] = raw
	}
	return sent, nil
}

func notKnown(name string, fields []field) error {
	p := unknownField.because("The field %.64q is unknown. Check its spelling, including upper and lower case.", name)
	for _, f := range fields {
		p.KnownFields = append(p.KnownFields, f.name)
	}
	p.Detail += " The known fields are: " + strings.Join(p.KnownFields, ", ") + "."
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

// escapesLoneSurrogate reports whether an escape is only half of a surrogate
// pair, which encoding/json would silently replace. In valid JSON, a backslash
// occurs only in strings.
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

// escaped decodes the \uXXXX that the text begins with; 0 for anything else.
func escaped(text []byte) rune {
	if !bytes.HasPrefix(text, []byte(`\u`)) {
		return 0
	}
	n, _ := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n)
}
