package settings

import (
	"context"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

// viaJSON reads a payload with encoding/json, because the scanner rejects the blank.
func viaJSON(payload string) (*notification, error) { return parseNotification(" " + payload) }

var commitsEqual = cmp.Options{
	cmp.AllowUnexported(notification{}, settings.Value{}), cmpopts.EquateEmpty(),
}

// The scanner reads all payloads that it should, and gives the same as encoding/json.
func TestTheShortWayThroughAPayloadIsTakenAndLeadsToTheSame(t *testing.T) {
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	hears := pgtest.Connect(t, url)
	var channel string
	if err := conn.QueryRow(t.Context(), `SELECT channel FROM settings_head`).Scan(&channel); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, hears, `LISTEN `+channel)
	for _, c := range []struct {
		sql   string
		short bool
	}{
		{`INSERT INTO platform_settings (key, value_bool, description, public) VALUES ('a', true, 'what it is', true)`, true},
		{`UPDATE platform_settings SET value_bool = false WHERE key = 'a'`, true},
		{`INSERT INTO platform_settings (key, value_int) VALUES ('b', -9223372036854775808)`, true},
		{`INSERT INTO platform_settings (key, value_text) VALUES ('c', 'grün, {"a" : [1]}')`, false}, // a quotation mark is escaped
		{`UPDATE platform_settings SET value_text = 'grün, [1], }' WHERE key = 'c'`, true},
		{`UPDATE platform_settings SET value_text = '' WHERE key = 'c'`, true},
		{`UPDATE platform_settings SET value_text = E'a\\b\n' WHERE key = 'c'`, false},
		{`INSERT INTO platform_settings (key, value_float) VALUES ('d', 1.5e300)`, false},
		{`INSERT INTO platform_settings (key, value_time) VALUES ('e', '2030-01-31 08:00:00.123456+02')`, false},
		{`INSERT INTO platform_settings (key, value_json) VALUES ('f', '{"a": [1.0, "x"]}')`, false},
		{`UPDATE platform_settings SET public = NOT public WHERE key IN ('a', 'b')`, true},
		{`BEGIN; SET LOCAL settings.wait = on; UPDATE platform_settings SET public = NOT public WHERE key IN ('a', 'b'); COMMIT`, true},
		{`DELETE FROM platform_settings WHERE key IN ('a', 'b', 'c')`, true},
		{`INSERT INTO platform_settings (key, value_text) VALUES ('g', repeat('long', 2000))`, false},
	} {
		pgtest.Exec(t, conn, c.sql)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		n, err := hears.WaitForNotification(ctx)
		cancel()
		if err != nil {
			t.Fatalf("%s: %v", c.sql, err)
		}
		long, err := viaJSON(n.Payload)
		if err != nil {
			t.Fatalf("%s: %v", n.Payload, err)
		}
		short := scanNotification(n.Payload)
		if (short != nil) != c.short {
			t.Errorf("%s\nread by the short way: %t", n.Payload, short != nil)
		}
		if short != nil {
			if diff := cmp.Diff(long, short, commitsEqual); diff != "" {
				t.Errorf("%s\n%s", n.Payload, diff)
			}
		}
	}
}

// If the scanner reads a payload, encoding/json reads the same from it.
func FuzzTheShortWayThroughAPayload(f *testing.F) {
	f.Add(`{"revision" : 7, "at" : "2026-01-31T08:00:00.123456+00:00", "changes" : [{"key" : "a", "kind" : "int", "value" : 5, "description" : "", "public" : false, "updated_at" : "2026-01-31T08:00:00+00:00", "updated_by" : "ada", "digest" : -1}, {"key" : "b", "deleted" : true}], "wait" : true}`)
	f.Add(`{"revision" : 7, "at" : "2026-01-31T08:00:00.123456+00:00", "changes" : [{"key" : "a", "kind" : "text", "value" : "x", "description" : "", "public" : true, "updated_at" : "2026-01-31T08:00:00+00:00", "updated_by" : "ada", "digest" : 3}]}`)
	f.Add(`{"revision" : 7, "at" : "2026-01-31T08:00:00.123456+00:00", "changes" : [{"key" : "a", "kind" : "bool", "value" : true, "description" : "d", "public" : true, "updated_at" : "2026-01-31T08:00:00+00:00", "updated_by" : "ada", "digest" : 3}]}`)
	f.Fuzz(func(t *testing.T, payload string) {
		short := scanNotification(payload)
		if short == nil || !utf8.ValidString(payload) || !json.Valid([]byte(payload)) {
			return
		}
		long, err := viaJSON(payload)
		if err != nil {
			t.Fatalf("%s\nthe long way: %v", payload, err)
		}
		if diff := cmp.Diff(long, short, commitsEqual); diff != "" {
			t.Errorf("%s\n%s", payload, diff)
		}
	})
}
