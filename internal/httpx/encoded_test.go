package httpx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"platform-settings/internal/wire"
	"platform-settings/settings"
)

// wanted encodes a value anew.
func wanted(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSharedAnswersAreWhatEncodingThemAnewGives(t *testing.T) {
	s := serve(t, nil)
	check := func() {
		t.Helper()
		snapshot := s.engine.Current()
		for _, token := range []string{"", viewerToken} {
			list := []wire.Setting{}
			for _, setting := range snapshot.All() {
				if !setting.Public && token == "" {
					continue
				}
				encoded, err := setting.Wire()
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, encoded)
				for _, path := range []string{"/api/v1/settings/", "/api/v1/admin/settings/"} {
					if strings.Contains(path, "admin") && token == "" {
						continue
					}
					if got, want := s.get(t, path+setting.Key, token).body, wanted(t, encoded); got != want {
						t.Errorf("%s%s is\n%swant\n%s", path, setting.Key, got, want)
					}
				}
			}
			want := wanted(t, struct {
				Revision settings.Revision `json:"revision"`
				Settings []wire.Setting    `json:"settings"`
			}{snapshot.Revision(), list})
			if got := s.get(t, "/api/v1/settings", token).body; got != want {
				t.Errorf("the list with token %.8q is\n%swant\n%s", token, got, want)
			}
		}
		if got, want := s.get(t, "/api/v1/maintenance", "").body, wanted(t, maintenanceOf(s.engine.Maintenance(), time.Now())); got != want {
			t.Errorf("the status is\n%swant\n%s", got, want)
		}
	}
	check()
	for _, write := range []string{
		`settings/a {"kind":"json","value":{"b":[1, null],"a":"<>"},"description":"<&>\u2028 \"d\"","public":true}`,
		`settings/z {"kind":"float","value":2.5}`,
		`settings/b {"kind":"text","value":"<&>\u2028","public":true}`,
		`settings/z {"value":3.5,"public":true}`,
		`settings/a {"value":1,"public":false}`,
		`maintenance {"enabled":true,"message":"<soon>"}`,
		`maintenance {"for":"1h"}`,
		`maintenance {"enabled":false}`,
	} {
		path, body, _ := strings.Cut(write, " ")
		s.put(t, path, body)
		check()
	}
}

func TestASettingIsEncodedOnceForAllReadersAndSnapshots(t *testing.T) {
	s := serve(t, nil)
	large, _ := json.Marshal(strings.Repeat("x", settings.MaxValueBytes)) // too large for a notification, so every commit leads to a full read
	for _, key := range []string{"a", "b", "c"} {
		s.put(t, "settings/"+key, fmt.Sprintf(`{"kind":"text","value":%s,"public":%t}`, large, key != "c"))
	}
	// where returns the address of each setting's bytes, by key.
	where := func(private bool) map[string]*byte {
		e := s.encoded.of(s.engine.Current)
		list, at := e.public, map[string]*byte{}
		if private {
			list = e.all
		}
		pieces, err := list()
		if err != nil {
			t.Error(err)
			return nil
		}
		for _, p := range pieces[1 : len(pieces)-1] {
			var setting struct{ Key string }
			if err := json.Unmarshal(bytes.TrimPrefix(p, []byte{','}), &setting); err != nil {
				t.Error(err)
			}
			at[setting.Key] = &p[len(p)-1]
		}
		return at
	}
	var wg sync.WaitGroup
	all := make([]map[string]*byte, 8)
	for i := range all {
		wg.Go(func() { all[i] = where(i%2 == 0) })
	}
	wg.Wait()
	for i, at := range all {
		for key, p := range at {
			if p != all[0][key] {
				t.Errorf("reader %d has a copy of %s", i, key)
			}
		}
	}
	s.put(t, "settings/b", strings.Replace(fmt.Sprintf(`{"value":%s}`, large), "x", "y", 1))
	after := where(true)
	for key, p := range all[0] {
		if (after[key] == p) != (key != "b") {
			t.Errorf("after a change of b: are the bytes of %s the same? %t", key, after[key] == p)
		}
	}
}

func TestNothingIsEncodedForACallerWhoHasIt(t *testing.T) {
	s := serve(t, nil)
	tag := s.put(t, "settings/a", `{"kind":"text","value":"x","public":true}`).header.Get("ETag")
	for _, path := range []string{"/api/v1/settings", "/api/v1/settings/a"} {
		a := s.do(t, request{method: "GET", path: path, header: map[string][]string{"If-None-Match": {tag}}})
		if a.status != 304 || a.body != "" {
			t.Errorf("%s: %d %q", path, a.status, a.body)
		}
	}
	if b := s.encoded.of(s.engine.Current).row("a").json.bytes; b != nil {
		t.Errorf("it is encoded all the same: %s", b)
	}
	for _, path := range []string{"/api/v1/settings", "/api/v1/settings/a", "/api/v1/maintenance"} {
		got, head := s.get(t, path, ""), s.do(t, request{method: "HEAD", path: path})
		if head.status != 200 || head.body != "" || head.header.Get("Content-Length") != fmt.Sprint(len(got.body)) {
			t.Errorf("HEAD %s: %d %q %v", path, head.status, head.body, head.header)
		}
		for _, name := range []string{"Etag", "Vary", "Cache-Control", "Content-Type", "Content-Length", "X-Content-Type-Options"} {
			if head.header.Get(name) != got.header.Get(name) {
				t.Errorf("%s: %s is %q for GET and %q for HEAD", path, name, got.header.Get(name), head.header.Get(name))
			}
		}
	}
}

func TestTheStatusIsEncodedWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now().Add(time.Hour)
		m := &settings.Maintenance{Message: "<soon>", StartsAt: start, EndsAt: start.Add(time.Hour)}
		var status encodedStatus
		current := func() *settings.Maintenance { return m }
		var last *byte
		check := func(when string, same bool) {
			t.Helper()
			got, err := status.at(time.Now(), current)
			if err != nil {
				t.Fatal(err)
			}
			if want := wanted(t, maintenanceOf(m, time.Now())); string(got) != want {
				t.Errorf("%s the status is\n%swant\n%s", when, got, want)
			}
			if (last == &got[0]) != same {
				t.Errorf("%s: is it the same as before? %t", when, !same)
			}
			last = &got[0]
		}
		check("first", false)
		time.Sleep(time.Hour - time.Nanosecond)
		check("before the window", true)
		time.Sleep(time.Nanosecond)
		check("when the window begins", false)
		time.Sleep(time.Hour - time.Nanosecond)
		check("before the window ends", true)
		time.Sleep(time.Nanosecond)
		check("when the window ends", false)
		m = &settings.Maintenance{Enabled: true}
		check("after another commit", false)
	})
}
