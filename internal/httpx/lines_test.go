package httpx

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// onTwoLines serves a public and an admin line until the test ends.
func onTwoLines(t *testing.T, edit func(*Config)) (public, admin *service) {
	t.Helper()
	public = serve(t, func(c *Config) {
		c.AdminLine = true
		if edit != nil {
			edit(c)
		}
	})
	var lines Lines
	for _, l := range []*net.Listener{&lines.Public, &lines.Admin} {
		var err error
		if *l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- public.Serve(ctx, lines) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	other := *public
	public.address, other.address = "http://"+lines.Public.Addr().String(), "http://"+lines.Admin.Addr().String()
	return public, &other
}

func TestTheAdminLineHasWhatThePublicOneHasNot(t *testing.T) {
	address, asked := upstream(t, nil)
	public, admin := onTwoLines(t, func(c *Config) { c.Upstream = address })
	for path, want := range map[string][2]int{ // on the public line, on the admin line
		"/livez": {200, 200}, "/readyz": {200, 200},
		"/api/v1/maintenance": {200, 200}, "/api/v1/settings": {200, 200}, "/api/v1/settings/maintenance_mode": {200, 200},
		"/api/v1/maintenance/page": {503, 503},
		"/metrics":                 {404, 200}, "/api/v1/admin/maintenance": {404, 200}, "/api/v1/admin/fleet": {404, 200},
		"/api/v1/admin": {404, 404}, "/console": {404, 404}, "/console/": {404, 404}, "/console/app.js": {404, 404},
		"/gate": {200, 404}, "/gate/deny/403": {200, 404},
		"//metrics": {404, 404}, "/x/../metrics": {404, 404}, "/api/v1/admin/../admin/fleet": {404, 404}, "//console/": {404, 404},
		"/orders": {200, 404}, "/": {200, 404},
	} {
		for i, s := range []*service{public, admin} {
			if a := s.get(t, path, adminToken); a.status != want[i] {
				t.Errorf("%s on line %d: %d, want %d", path, i, a.status, want[i])
			}
		}
	}
	if len(asked()) != 2 {
		t.Errorf("the upstream was asked for %v", asked())
	}
	admin.put(t, "maintenance", `{"enabled":true}`)
	public.get(t, "/", "").wantProblem(t, 503, "maintenance")
}

// Without the limit, a crowd could use up all file descriptors. Without a line of
// its own, the limit would lock out the switch.
func TestACrowdOnThePublicLineLeavesTheSwitchAlone(t *testing.T) {
	public, admin := onTwoLines(t, func(c *Config) { c.MaxConnections = 3 })
	const get = "GET /api/v1/maintenance HTTP/1.1\r\nHost: x\r\n\r\n"
	var crowd []net.Conn
	for range 10 {
		conn := public.dial(t)
		if _, err := conn.Write([]byte(get)); err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, conn)
	}
	for deadline := time.Now().Add(patience); public.metrics.publicConnections.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the crowd was not let in")
		}
	}
	admin.put(t, "maintenance", `{"enabled":true}`)
	if page := admin.get(t, "/metrics", "").body; !strings.Contains(page, `http_connections{line="public"} 3`) || !strings.Contains(page, "http_connections_limit 3") {
		t.Error("the metrics do not show that the public line is full")
	}
	// The others of the crowd are let in, one by one, as connections close.
	for _, conn := range crowd {
		if n, err := conn.Read(make([]byte, 12)); err != nil || n != 12 {
			t.Fatalf("%d, %v", n, err)
		}
		conn.Close()
	}
}

func TestTheLinesAreThoseOfTheConfig(t *testing.T) {
	s := serve(t, nil)
	if s.AdminHandler() != nil {
		t.Error("there is an admin line")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := s.Serve(t.Context(), Lines{Public: l, Admin: l}); err == nil {
		t.Error("it serves an admin line that it has no routes for")
	}
}
