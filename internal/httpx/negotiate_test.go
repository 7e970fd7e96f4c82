package httpx

import (
	"net/http"
	"testing"
)

func TestNegotiation(t *testing.T) {
	const (
		asProblem = "application/problem+json"
		asHTML    = typeHTML
		asText    = typeText
	)
	s := serve(t, nil)
	s.put(t, "maintenance", `{"enabled":true}`)
	for _, test := range []struct {
		accept []string
		want   string
	}{
		{nil, asProblem},
		{[]string{""}, asProblem},
		{[]string{"*/*"}, asProblem},
		{[]string{"application/json"}, asProblem},
		{[]string{"application/*"}, asProblem},
		{[]string{"application/problem+json"}, asProblem},
		{[]string{"image/png"}, asProblem},
		{[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, asHTML}, // browsers
		{[]string{"application/json, text/plain, */*"}, asProblem},                            // axios
		{[]string{"text/*"}, asHTML},
		{[]string{"TEXT/HTML; charset=utf-8"}, asHTML},
		{[]string{"text/plain"}, asText},
		{[]string{"text/plain, */*"}, asText},
		{[]string{"text/html;q=0.4, text/plain;q=0.6"}, asText},
		{[]string{"text/html;q=0.4", "application/json;q=0.6"}, asProblem}, // two lines
		{[]string{"text/*;q=0.5, text/plain;q=0.1"}, asHTML},               // the specific range wins over text/*
		{[]string{"text/html;q=0, text/*;q=0.2"}, asText},
		{[]string{"text/html;q=0"}, asProblem},
		{[]string{"*/*;q=0.1, text/html;q=0"}, asProblem},
		{[]string{"text/html; Q=0.9, text/plain ; q = 1"}, asText},
		{[]string{"text/html;q=nonsense, text/plain;q=0.001"}, asText},
		{[]string{"text/html;q=NaN, text/plain;q=0.001"}, asText},
		{[]string{"text/html;q=2, text/plain;q=0.001"}, asText},
		{[]string{";;;,,,/,q=1,text/plain"}, asText},
	} {
		header := http.Header{}
		if test.accept != nil {
			header["Accept"] = test.accept
		}
		a := s.do(t, request{method: "GET", path: "/", header: header})
		if a.status != 503 || a.header.Get("Content-Type") != test.want {
			t.Errorf("Accept %q: %d %s, want %s", test.accept, a.status, a.header.Get("Content-Type"), test.want)
		}
	}
}
