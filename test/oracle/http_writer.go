package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// send makes a planned request, and records how it went.
func (j *journal) send(r request, l *life) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := &write{tag: r.tag, does: r.String() + " " + l.name, key: r.key, sure: r.sure}
	var condition []string
	if r.ifSame {
		answer, err := l.ask(ctx, "GET", r.path, "")
		switch {
		case err != nil:
			return
		case answer.Status == http.StatusNotFound && r.method == "PUT":
			w.was, condition = new(int64), []string{"If-None-Match", "*"}
		case answer.Status == http.StatusOK:
			revision, err := strconv.ParseInt(strings.Trim(answer.Header.Get("ETag"), `"`), 10, 64)
			if err != nil {
				j.violation("%s: GET %s: ETag %q", l.name, r.path, answer.Header.Get("ETag"))
			}
			w.was, condition = &revision, []string{"If-Match", answer.Header.Get("ETag")}
		default:
			return
		}
		time.Sleep(r.pause / 2)
	}
	if r.leaves > 0 {
		ctx, cancel = context.WithTimeout(ctx, r.leaves)
		defer cancel()
	}
	j.put(ctx, w, r, l, condition...)
	if r.twice && w.outcome == landed {
		again := &write{tag: r.tag + " again", does: "again: " + w.does, key: r.key}
		r.body = strings.Replace(r.body, `"reason":"`+r.tag+`"`, `"reason":"`+again.tag+`"`, 1)
		j.put(ctx, again, r, l)
	}
}

func (j *journal) put(ctx context.Context, w *write, r request, l *life, header ...string) {
	w.began = j.now()
	answer, err := l.ask(ctx, r.method, r.path, r.body, header...)
	defer func() { j.wrote(w) }()
	if err != nil {
		w.outcome, w.why = unknown, err.Error()
		return
	}
	var told struct {
		Revision int64
		Setting  *listed
		Type     string
	}
	if err := json.Unmarshal(answer.Body, &told); err != nil {
		j.violation("%s: %d %s", w.does, answer.Status, answer.Body)
	}
	w.revision = told.Revision
	w.why = strings.TrimPrefix(fmt.Sprint(answer.Status, " ", told.Type), "urn:platform-settings:problem:")
	problem := strings.TrimPrefix(told.Type, "urn:platform-settings:problem:")
	switch {
	case answer.Status == http.StatusOK || answer.Status == http.StatusCreated:
		w.outcome = landed
		l.shown(told.Revision)
		if told.Setting != nil {
			s, err := told.Setting.setting()
			if err != nil {
				j.violation("%s: %v", w.does, err)
			}
			w.rows = map[string]*setting{r.key: s}
		}
		j.read(ctx, l)
	case problem == "not-in-force":
		w.outcome = landed
	case problem == "outcome-unknown":
		w.outcome = unknown
	case answer.Status >= 500 && answer.Status != http.StatusServiceUnavailable:
		w.outcome = unknown
		j.violation("%s: %d %s", w.does, answer.Status, answer.Body)
	default:
		w.outcome = nothing
		if !slices.Contains(mayHappen, problem) {
			j.violation("%s: %d %s", w.does, answer.Status, answer.Body)
		}
	}
}

// mayHappen are the problems that the writers and the faults can cause. Any other
// problem is a violation, because the writer did nothing wrong.
var mayHappen = []string{"no-such-setting", "kind-mismatch", "precondition-failed", "setting-locked", "database-unavailable", "no-snapshot"}
