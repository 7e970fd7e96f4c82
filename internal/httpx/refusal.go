package httpx

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"platform-settings/settings"
)

// reason is why the gate is closed, and all that a refusal's words depend on.
type reason struct {
	maintenance *settings.Maintenance
	inWindow    bool
	stale       bool // this pod may be out of date, and maintenance is not known to be on
}

// refusal is what a caller gets who is turned away. Its long parts are encoded
// once and shared by all callers, however many there are and however slowly they
// read. It is immutable.
type refusal struct {
	reason
	kind   problemType
	until  *time.Time
	detail []byte // as a JSON string
	page   []byte
	text   []byte
}

// staleRetry is when to try a pod again that has lost its database.
const staleRetry = 10 * time.Second

func newRefusal(why reason, now time.Time) *refusal {
	f := &refusal{reason: why, kind: underMaintenance}
	detail := cmp.Or(why.maintenance.Message, "The platform is under maintenance. Please try again later.")
	if why.stale {
		f.kind = staleSettings
		detail = "This pod has lost its database for so long that it may not know about a change, so it turns requests away. It opens again by itself; /readyz says how it is doing."
	} else {
		f.until = orNull(why.maintenance.Until(now))
	}
	f.detail = jsonString(detail)
	f.page = renderPage(page{Title: f.kind.title, Text: detail, Until: f.until})
	text := detail + "\n"
	if f.until != nil {
		text += "Until " + f.until.Format(time.RFC3339) + ".\n"
	}
	f.text = []byte(text)
	return f
}

// send answers with a status and the form that the caller likes best. It is 503
// except for a proxy that would take that for its own failure.
func (f *refusal) send(w http.ResponseWriter, r *http.Request, status int) {
	retry := retryAfter(f.retryIn(time.Now()))
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept")
	h.Set("Retry-After", strconv.FormatInt(retry, 10))
	h.Set("X-Content-Type-Options", "nosniff")
	switch preferred(strings.Join(r.Header.Values("Accept"), ",")) {
	case formHTML:
		h.Set("Content-Security-Policy", pagePolicy)
		sendPieces(w, status, typeHTML, f.page)
	case formText:
		sendPieces(w, status, typeText, f.text)
	default:
		sendPieces(w, status, typeProblem, f.head(status), f.detail, f.tail(r, retry))
	}
}

// head and tail are the problem before and after its detail: the members of
// [problem], of which these take part in a refusal.
func (f *refusal) head(status int) []byte {
	head := `{"type":"` + f.kind.urn() + `","title":"` + f.kind.title + `","status":` + strconv.Itoa(status) + `,"detail":`
	return []byte(head)
}

func (f *refusal) tail(r *http.Request, retry int64) []byte {
	tail := append([]byte(`,"instance":`), jsonString(pathOf(r))...)
	if f.until != nil {
		tail = append(tail, `,"until":"`+f.until.Format(time.RFC3339Nano)+`"`...)
	}
	return append(tail, `,"retry_after":`+strconv.FormatInt(retry, 10)+"}\n"...)
}

func (f *refusal) retryIn(now time.Time) time.Duration {
	if f.stale {
		return staleRetry
	}
	return f.maintenance.RetryIn(now)
}

// retryAfter is in whole seconds, never early, and up to a tenth later, lest all
// who were turned away come back at once.
func retryAfter(in time.Duration) int64 {
	seconds := int64((in + time.Second - 1) / time.Second)
	return seconds + rand.N(seconds/10+1)
}

// sendPieces answers with a body that may be shared: none of it is copied.
func sendPieces(w http.ResponseWriter, status int, contentType string, pieces ...[]byte) {
	length := 0
	for _, piece := range pieces {
		length += len(piece)
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(status)
	for _, piece := range pieces {
		if _, err := w.Write(piece); err != nil {
			return // the caller has gone, or does not read
		}
	}
}

// jsonString encodes a string, without a line break and with <, > and & as they are.
func jsonString(s string) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // a string has no way to fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
