package httpx

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

var someProxies = proxies{netip.MustParsePrefix("10.1.2.3/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("fe80::/10")}

// requestFrom makes a request from a peer, with the headers that name its hops.
func requestFrom(peer string, header http.Header) *http.Request {
	r := httptest.NewRequest("GET", "http://shop.example/", nil)
	r.RemoteAddr = peer
	if header != nil {
		r.Header = header
	}
	return r
}

func TestTheClientIsTheLastOneThatIsNotATrustedProxy(t *testing.T) {
	for _, test := range []struct {
		trusted   proxies
		peer      string
		forwarded []string
		want      string
	}{
		{nil, "127.0.0.1:1", []string{"192.0.2.1"}, "127.0.0.1"},
		{nil, "10.0.0.1:1", []string{"192.0.2.1"}, "10.0.0.1"},
		{nil, "@", []string{"192.0.2.1"}, ""},
		{someProxies, "203.0.113.1:1", []string{"192.0.2.1"}, "203.0.113.1"},
		{someProxies, "10.0.0.1:1", nil, "10.0.0.1"},
		{someProxies, "10.0.0.1:1", []string{""}, "10.0.0.1"},
		{someProxies, "10.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1"},
		{someProxies, "[fd00::1]:1", []string{"2001:db8::1"}, "2001:db8::1"},
		{someProxies, "[fe80::1%eth0]:1", []string{"192.0.2.1"}, "192.0.2.1"},
		{someProxies, "[::ffff:10.0.0.1]:1", []string{"192.0.2.1"}, "192.0.2.1"},
		{someProxies, "[::ffff:203.0.113.1]:1", []string{"192.0.2.1"}, "203.0.113.1"},

		// Several proxies. Anything to the left of the nearest untrusted hop does not count.
		{someProxies, "10.0.0.1:1", []string{"198.51.100.9, 192.0.2.1", "10.0.0.2"}, "192.0.2.1"},
		{someProxies, "10.0.0.1:1", []string{"198.51.100.9", "192.0.2.1,10.0.0.3", "fd00::2 ,\t10.0.0.2"}, "192.0.2.1"},
		{someProxies, "10.0.0.1:1", []string{"10.0.0.4, 10.0.0.3"}, "10.0.0.4"},
		{someProxies, "10.0.0.1:1", []string{", 192.0.2.1,,", " "}, "192.0.2.1"},

		// Every way to write an address.
		{someProxies, "10.0.0.1:1", []string{"203.0.113.9:51234"}, "203.0.113.9"},
		{someProxies, "10.0.0.1:1", []string{"203.0.113.9:51234, 10.0.0.2:80"}, "203.0.113.9"},
		{someProxies, "10.0.0.1:1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{someProxies, "10.0.0.1:1", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{someProxies, "10.0.0.1:1", []string{"2001:DB8:0::0:1"}, "2001:db8::1"},
		{someProxies, "10.0.0.1:1", []string{"2001:db8::1%eth0"}, "2001:db8::1"},
		{someProxies, "10.0.0.1:1", []string{"[2001:db8::1%eth0]:443"}, "2001:db8::1"},
		{someProxies, "10.0.0.1:1", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{someProxies, "10.0.0.1:1", []string{"[::ffff:203.0.113.9]:1, ::ffff:10.0.0.2"}, "203.0.113.9"},
		{someProxies, "10.0.0.1:1", []string{`"203.0.113.9"`}, "203.0.113.9"},
		{someProxies, "10.0.0.1:1", []string{`"[2001:db8::1]:443"`}, "2001:db8::1"},

		// An element without an address ends the list.
		{someProxies, "10.0.0.1:1", []string{"192.0.2.1, nonsense"}, "10.0.0.1"},
		{someProxies, "10.0.0.1:1", []string{"192.0.2.1, unknown"}, "10.0.0.1"},
		{someProxies, "10.0.0.1:1", []string{"192.0.2.1, _hidden, 10.0.0.2"}, "10.0.0.2"},
		{someProxies, "10.0.0.1:1", []string{"nonsense, 192.0.2.1"}, "192.0.2.1"},
		{someProxies, "10.0.0.1:1", []string{`"nonsense, 192.0.2.1`}, "192.0.2.1"},
		{someProxies, "10.0.0.1:1", []string{"192.0.2.1:port"}, "10.0.0.1"},
		{someProxies, "10.0.0.1:1", []string{"192.0.2.1:"}, "10.0.0.1"},
		{someProxies, "10.0.0.1:1", []string{"192.0.2.1:65536"}, "10.0.0.1"},
		{someProxies, "10.0.0.1:1", []string{"[192.0.2.1]"}, "10.0.0.1"},
		{someProxies, "10.0.0.1:1", []string{"[2001:db8::1"}, "10.0.0.1"},
		{someProxies, "10.0.0.1:1", []string{"[2001:db8::1]443"}, "10.0.0.1"},
		{someProxies, "10.0.0.1:1", []string{"192.0.2.256"}, "10.0.0.1"},
		{someProxies, "10.0.0.1:1", []string{"192.0.2.1 192.0.2.2"}, "10.0.0.1"},

		// Only the last maxHops elements count.
		{someProxies, "10.0.0.1:1", []string{"192.0.2.1" + strings.Repeat(",10.0.0.2", maxHops-1)}, "192.0.2.1"},
		{someProxies, "10.0.0.1:1", []string{"192.0.2.1" + strings.Repeat(",10.0.0.2", maxHops)}, "10.0.0.2"},
		{someProxies, "10.0.0.1:1", []string{strings.Repeat("192.0.2.1,", 5*maxHops) + "192.0.2.2"}, "192.0.2.2"},
	} {
		header := http.Header{}
		if test.forwarded != nil {
			header["X-Forwarded-For"] = test.forwarded
		}
		if got := test.trusted.clientIP(requestFrom(test.peer, header)); got != test.want {
			t.Errorf("peer %s, X-Forwarded-For %.100q: %s, want %s", test.peer, test.forwarded, got, test.want)
		}
	}
}

func TestForwardedNamesTheClientToo(t *testing.T) {
	for _, test := range []struct {
		forwarded []string
		want      string
	}{
		{[]string{"for=192.0.2.1"}, "192.0.2.1"},
		{[]string{`For="[2001:db8::1]:4711"`}, "2001:db8::1"},
		{[]string{"proto=https;FOR=192.0.2.1;by=10.0.0.1;host=shop.example"}, "192.0.2.1"},
		{[]string{"for=192.0.2.1; proto=http; by=203.0.113.43"}, "192.0.2.1"},
		{[]string{`for="192.0.2.1:_port"`}, "192.0.2.1"},
		{[]string{`for="192.0.\2.1"`}, "192.0.2.1"},
		{[]string{"for=192.0.2.1:4711"}, "192.0.2.1"},
		{[]string{"for=[2001:db8::1]:4711"}, "2001:db8::1"},
		{[]string{"for=198.51.100.9, for=192.0.2.1", `for=10.0.0.3 , for="[fd00::2]"`}, "192.0.2.1"},
		{[]string{`host="a,for=198.51.100.9;\"";for=192.0.2.1;ext="=;,"`}, "192.0.2.1"},
		{[]string{"for=192.0.2.1;;", ","}, "192.0.2.1"},
		{[]string{"for=10.0.0.4,for=10.0.0.3"}, "10.0.0.4"},

		{[]string{"for=192.0.2.1, for=unknown"}, "10.0.0.1"},
		{[]string{"for=192.0.2.1, for=Unknown, for=10.0.0.2"}, "10.0.0.2"},
		{[]string{"for=192.0.2.1, for=_hidden"}, "10.0.0.1"},
		{[]string{`for=192.0.2.1, for="_hidden:80"`}, "10.0.0.1"},
		{[]string{"for=192.0.2.1, proto=https"}, "10.0.0.1"},
		{[]string{"for=192.0.2.1, for="}, "10.0.0.1"},
		{[]string{"for=192.0.2.1, for"}, "10.0.0.1"},
		{[]string{"192.0.2.1"}, "10.0.0.1"},
		{[]string{"for=192.0.2.1;for=192.0.2.1"}, "10.0.0.1"},
		{[]string{"for=192.0.2.1;For=198.51.100.9"}, "10.0.0.1"},
		{[]string{"for =192.0.2.1"}, "10.0.0.1"},
		{[]string{"for= 192.0.2.1"}, "10.0.0.1"},
		{[]string{`for="192.0.2.1"x`}, "10.0.0.1"},
		{[]string{`for="192.0.2.1`}, "10.0.0.1"},
		{[]string{`for="192.0.2.1\`}, "10.0.0.1"},
		{[]string{`for=192.0.2.1;host=a b`}, "10.0.0.1"},
		// A quote that the client left open does not swallow a line that a proxy adds.
		{[]string{`for="198.51.100.9`, "for=192.0.2.1"}, "192.0.2.1"},
		{[]string{`for=192.0.2.1` + strings.Repeat(",for=10.0.0.2", maxHops)}, "10.0.0.2"},
	} {
		header := http.Header{"Forwarded": test.forwarded}
		if got := someProxies.clientIP(requestFrom("10.0.0.1:1", header)); got != test.want {
			t.Errorf("Forwarded %.100q: %s, want %s", test.forwarded, got, test.want)
		}
		if got := someProxies.clientIP(requestFrom("203.0.113.1:1", header)); got != "203.0.113.1" {
			t.Errorf("Forwarded %.100q from an untrusted peer: %s", test.forwarded, got)
		}
		// A proxy that sets X-Forwarded-For passes Forwarded on as it was sent.
		header["X-Forwarded-For"] = []string{"203.0.113.7"}
		if got := someProxies.clientIP(requestFrom("10.0.0.1:1", header)); got != "203.0.113.7" {
			t.Errorf("Forwarded %.100q beside X-Forwarded-For: %s", test.forwarded, got)
		}
	}
}

func TestALongListOfHopsTakesLittleMemory(t *testing.T) {
	got := elements([]string{strings.Repeat("10.0.0.2,", maxHeaderBytes/9), "10.0.0.3"}, commas)
	if len(got) != maxHops || cap(got) > 4*maxHops || got[maxHops-1] != "10.0.0.3" {
		t.Errorf("%d elements in a list for %d: %v", len(got), cap(got), got)
	}
}

func TestAPeerIsTrustedByItsAddress(t *testing.T) {
	for peer, want := range map[string]bool{
		"10.0.0.1:1": true, "[::ffff:10.0.0.1]:1": true, "[fd00::1]:1": true, "[fe80::1%eth0]:1": true,
		"11.0.0.1:1": false, "[2001:db8::1]:1": false, "@": false, "": false,
	} {
		if got := someProxies.trusts(peer); got != want {
			t.Errorf("%s is trusted: %t", peer, got)
		}
	}
}
