package httpx

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	lies = []string{
		"Forwarded", "FORWARDED", "X-Forwarded", "X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-HOST", "X_Forwarded_For",
		"x_forwarded-Proto", "X-Forwarded-Prefix", "X-Forwarded-Port", "X-Forwarded-Ssl", "X-Forwarded-Uri", "X-Forwarded-Method",
		"X-Forwarded-User", "X-Forwarded-Client-Cert", "X-Original-Url", "X_Original_URL", "X-Original-Forwarded-For", "X-Rewrite-Url",
		"X-Real-Ip", "X_Real_Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Client-Ip", "Client_ip", "CF-Connecting-IP",
		"Cf-Connecting-Ipv6", "Fastly-Client-Ip", "WL-Proxy-Client-IP", "X-Remote-Addr", "X-Scheme", "Front-End-Https",
		"X-Envoy-External-Address", "X-Originating-Ip", "X.Forwarded.For", "X.Real.IP", "x~forwarded!for", "X-Forwarded.Host",
		"X_Client-Ip", "Forwarded-For", "Forwarded-Host", "Forwarded_Proto", "X-Forward-For", "X-Forwarder-For", "X-Forward", "X-Vercel-Forwarded-For",
		"Client-Cert", "Client-Cert-Chain", "Client_Cert", "X-SSL-Client-Cert", "X-SSL-Client-Verify", "SSL-Client-Cert", "SSL_CLIENT_S_DN",
		"X-TLS-Client-Cert", "X-ARR-ClientCert", "X-Amzn-Mtls-Clientcert-Subject", "X-Client-Verify", "X-ClientIP", "X-Azure-ClientIP",
		"X-Azure-SocketIP", "CloudFront-Viewer-Address", "X-AppEngine-User-IP", "X-Client-Version", "X-Cluster-Name",
		"Remote-User", "Remote_User", "REMOTE-ADDR", "Remote-Groups", "X-Remote-User", "X-Auth-Request-User", "X-Auth-Request-Email", "X-WebAuth-User",
		"X-Authenticated-User", "Cf-Access-Authenticated-User-Email", "Tailscale-User-Login", "X-Goog-Authenticated-User-Email",
		"X-MS-Client-Principal", "X-Ms-Client-Principal-Name", "OIDC_CLAIM_email", "X-Amzn-Oidc-Identity",
		"X-HTTP-Host-Override", "X-Host-Override", "X-Host", "X-Url-Scheme", "Https",
	}
	truths = []string{
		"", "X", "X-", "-", "_", "Accept", "Authorization", "Host", "X-Request-Id", "X-Original", "Client", "X-Client",
		"X-Custom", "Cookie", "X-Requested-With", "Max-Forwards", "X-CSRF-Token", "X-XSRF-TOKEN", "Client-Id", "Client-Secret", "X-Ms-Client-Request-Id",
		"X-Api-Key", "Api_Key", "User-Agent", "X-User-Email", "X-User-Token", "X-User-Id", "X-Auth-Token", "X-Auth-User", "X-Auth-Key", "Origin", "Referer",
		"X-Correlation-ID", "Traceparent", "X-HTTP-Method-Override", "Impersonate-User", "Upgrade-Insecure-Requests", "Content-Type", "Content-Length",
		"Sec-Fetch-Site", "Sec-Fetch-User", "Sec-CH-UA-Platform", "Sec-CH-Prefers-Color-Scheme", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol",
		"X-Zip", "Ship-To", "X-Description", "X-Goog-Api-Key", "X-Amz-Date", "X-Amz-Content-Sha256", "X-Ms-Version", "Tus-Resumable", "Upload-Metadata",
		"Grpc-Timeout", "Connect-Protocol-Version", "Ce-Id", "Svix-Signature", "Stripe-Signature", "X-Hub-Signature-256", "X-GitHub-Event", "Idempotency-Key",
	}
)

func TestHeadersThatOnlyAProxyMaySetAreKnownByTheirNames(t *testing.T) {
	for _, name := range lies {
		if !spoofable(name) {
			t.Errorf("%s passes", name)
		}
	}
	for _, name := range truths {
		if spoofable(name) {
			t.Errorf("%s is taken out", name)
		}
	}
	if n := testing.AllocsPerRun(10, func() {
		for _, name := range lies {
			spoofable(name)
		}
	}); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
}

func TestTheUpstreamIsToldWhatIsKnownOfTheWayHere(t *testing.T) {
	const untrusted, trusted = "203.0.113.1:1", "10.0.0.1:1"
	for _, test := range []struct {
		name, peer string
		tls        bool
		in, want   http.Header
	}{
		{
			"nothing is said", untrusted, false,
			http.Header{"Accept": {"*/*"}},
			http.Header{"Accept": {"*/*"}, "X-Forwarded-For": {"203.0.113.1"}, "X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"http"}},
		},
		{
			"over TLS, by IPv6", "[2001:db8::1]:1", true,
			http.Header{},
			http.Header{"X-Forwarded-For": {"2001:db8::1"}, "X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"https"}},
		},
		{
			"a client lies", untrusted, false,
			http.Header{
				"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Port": {"1"},
				"X_forwarded_for": {"192.0.2.1"}, "True-Client-Ip": {"192.0.2.1"}, "Forwarded": {"for=192.0.2.1"}, "X-Original-Url": {"/admin"},
			},
			http.Header{"X-Forwarded-For": {"203.0.113.1"}, "X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"http"}},
		},
		{
			"a client doubles what is ours, in names that CGI reads as the same", untrusted, false,
			http.Header{
				"X-Request-Id": {"r-7"}, "X_request_id": {"r-8"}, "X-Request.id": {"r-9"}, "X-Order": {"1"}, "X_order": {"2"}, "X_other": {"3"},
				"Remote_user": {"ada"}, "X.forwarded.for": {"192.0.2.1"},
			},
			http.Header{
				"X-Request-Id": {"r-7"}, "X-Order": {"1"}, "X_other": {"3"},
				"X-Forwarded-For": {"203.0.113.1"}, "X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"http"},
			},
		},
		{
			"a trusted proxy passes on such names, and has names of its own", trusted, false,
			http.Header{
				"X_forwarded_for": {"192.0.2.1"}, "X.forwarded.proto": {"https"}, "X-Real-Ip": {"192.0.2.1"}, "X_real_ip": {"192.0.2.2"},
				"Ssl_client_cert": {"MII"}, "Oidc_claim_email": {"ada@shop.example"}, "Remote-User": {"ada"},
			},
			http.Header{
				"X-Real-Ip": {"192.0.2.1"}, "Ssl_client_cert": {"MII"}, "Oidc_claim_email": {"ada@shop.example"}, "Remote-User": {"ada"},
				"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"http"},
			},
		},
		{
			"a peer without an address", "@", false,
			http.Header{"X-Forwarded-For": {"192.0.2.1"}},
			http.Header{"X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"http"}},
		},
		{
			"a trusted proxy speaks", trusted, false,
			http.Header{
				"X-Forwarded-For": {"192.0.2.1:80, unknown", " 10.0.0.2 ", ""}, "X-Forwarded-Host": {"www.example"}, "X-Forwarded-Proto": {"https"},
				"X-Forwarded-Prefix": {"/a"}, "X-Real-Ip": {"192.0.2.1"}, "X_forwarded_for": {"198.51.100.9"},
			},
			http.Header{
				"X-Forwarded-For": {"192.0.2.1:80, unknown, 10.0.0.2, 10.0.0.1"}, "X-Forwarded-Host": {"www.example"}, "X-Forwarded-Proto": {"https"},
				"X-Forwarded-Prefix": {"/a"}, "X-Real-Ip": {"192.0.2.1"},
			},
		},
		{
			"a trusted proxy says nothing", trusted, false,
			http.Header{},
			http.Header{"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"http"}},
		},
		{
			"a trusted proxy speaks by Forwarded", trusted, false,
			http.Header{
				"Forwarded": {`for=198.51.100.9;proto=ftp, for="[2001:db8::1]:4711";proto=HTTPS;host="www.example:444"`, "for=10.0.0.2;proto=http, for=_x"},
			},
			http.Header{
				"Forwarded": {`for=198.51.100.9;proto=ftp, for="[2001:db8::1]:4711";proto=HTTPS;host="www.example:444", ` +
					`for=10.0.0.2;proto=http, for=_x, for=10.0.0.1;host=shop.example;proto=http`},
				"X-Forwarded-For":  {"198.51.100.9, 2001:db8::1, 10.0.0.2, unknown, 10.0.0.1"},
				"X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"http"},
			},
		},
		{
			"the outermost trusted proxy knows the host and the scheme", "[fd00::1]:1", false,
			http.Header{
				"Forwarded": {`for=198.51.100.9;proto=http;host=evil, for="[2001:db8::1]:4711";proto=HTTPS;host="www.example:444"`, "for=10.0.0.2;proto=http"},
			},
			http.Header{
				"Forwarded": {`for=198.51.100.9;proto=http;host=evil, for="[2001:db8::1]:4711";proto=HTTPS;host="www.example:444", ` +
					`for=10.0.0.2;proto=http, for="[fd00::1]";host=shop.example;proto=http`},
				"X-Forwarded-For":  {"198.51.100.9, 2001:db8::1, 10.0.0.2, fd00::1"},
				"X-Forwarded-Host": {"www.example:444"}, "X-Forwarded-Proto": {"https"},
			},
		},
		{
			"both, each goes on", trusted, false,
			http.Header{"Forwarded": {"for=192.0.2.1;proto=https"}, "X-Forwarded-For": {"192.0.2.7"}},
			http.Header{
				"Forwarded": {"for=192.0.2.1;proto=https, for=10.0.0.1;host=shop.example;proto=http"}, "X-Forwarded-For": {"192.0.2.7, 10.0.0.1"},
				"X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"http"},
			},
		},
		{
			"what is malformed is cut off", trusted, false,
			http.Header{"Forwarded": {"for=192.0.2.9, for=x y, for=192.0.2.1"}},
			http.Header{
				"Forwarded": {"for=192.0.2.1, for=10.0.0.1;host=shop.example;proto=http"}, "X-Forwarded-For": {"192.0.2.1, 10.0.0.1"},
				"X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"http"},
			},
		},
		{
			"an open quote swallows nothing", trusted, false,
			http.Header{"Forwarded": {`for="192.0.2.9`}},
			http.Header{
				"Forwarded": {"for=10.0.0.1;host=shop.example;proto=http"}, "X-Forwarded-For": {"10.0.0.1"},
				"X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"http"},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := requestFrom(test.peer, test.in)
			if test.tls {
				in.TLS = &tls.ConnectionState{}
			}
			before, out := in.Header.Clone(), in.Header.Clone()
			someProxies.forward(out, in)
			if diff := cmp.Diff(test.want, out); diff != "" {
				t.Errorf("to the upstream (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, in.Header); diff != "" {
				t.Errorf("the request itself is changed:\n%s", diff)
			}
		})
	}
}

func TestAHostIsQuotedInForwarded(t *testing.T) {
	in := requestFrom("10.0.0.1:1", http.Header{"Forwarded": {"for=192.0.2.1"}})
	in.Host = `a"\b:80`
	out := http.Header{}
	someProxies.forward(out, in)
	if got, want := out.Get("Forwarded"), `for=192.0.2.1, for=10.0.0.1;host="a\"\\b:80";proto=http`; got != want {
		t.Errorf("Forwarded is %s, want %s", got, want)
	}
	if h := forwardedHops(out); len(h) != 2 || h[0].host != in.Host {
		t.Errorf("it reads as %+v", h)
	}
}

// A proxy removes the headers that the client names in Connection. Those must not be
// ones that the upstream relies on.
func TestAClientsConnectionTakesNothingOut(t *testing.T) {
	headers := make(chan http.Header, 1)
	address, _ := upstream(t, func(_ http.ResponseWriter, r *http.Request) { headers <- r.Header })
	for peer, trusted := range map[string]proxies{"untrusted": nil, "trusted": {netip.MustParsePrefix("127.0.0.0/8")}} {
		front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(address)
			trusted.forward(r.Out.Header, r.In)
		}})
		defer front.Close()
		got := reachedBy(t, front.URL, "GET / HTTP/1.1\r\nHost: shop.example\r\n"+
			"Connection: close, X-Forwarded-For, x-forwarded-host, X-Forwarded-Proto, Forwarded, X-Request-ID, X-Real-IP, X-Hop\r\n"+
			"X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"+
			"X_Forwarded_For: 192.0.2.1\r\nX-Hop: 1\r\nX-Request-ID: r-7\r\n\r\n", headers)
		want := http.Header{
			"X-Request-Id": {"r-7"}, "X-Forwarded-For": {"127.0.0.1"},
			"X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"http"},
		}
		if trusted != nil {
			want = http.Header{
				"X-Request-Id": {"r-7"}, "X-Forwarded-For": {"192.0.2.1, 127.0.0.1"}, "X-Real-Ip": {"192.0.2.1"},
				"X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"https"},
				"Forwarded": {"for=192.0.2.1, for=127.0.0.1;host=shop.example;proto=http"},
			}
		}
		got.Del("Accept-Encoding")
		got.Del("User-Agent")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from a peer that is %s (-want +got):\n%s", peer, diff)
		}
	}
}

// reachedBy sends raw bytes to an address, and returns the header that reached the
// upstream.
func reachedBy(t *testing.T, address, request string, reached <-chan http.Header) http.Header {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", u.Host, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 200 ") {
		t.Fatalf("answer %q, %v", line, err)
	}
	return <-reached
}
