package proxies

import (
	"bytes"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

// patience is how long a test waits for something that must happen.
const patience = 30 * time.Second

// The addresses in the files; the pods' are in fleet_test.go.
const (
	visitors = "127.0.0.1:8080"
	inner    = "127.0.0.1:8180" // where a proxy asks itself for a healthy pod
	platform = "127.0.0.1:3000"
)

// program is a proxy that may be installed.
type program struct {
	name string
	// run is how to start it on the first of the files in dir, its working
	// directory. It has to be a single process in the foreground.
	run func(t *testing.T, dir, file string) []string
}

var nginx = program{"nginx", func(t *testing.T, dir, file string) []string {
	write(t, filepath.Join(dir, "nginx.conf"), `daemon off;
master_process off;
pid `+dir+`/pid;
events {}
http {
	client_body_temp_path `+dir+`/body;
	proxy_temp_path `+dir+`/proxy;
	fastcgi_temp_path `+dir+`/fastcgi;
	uwsgi_temp_path `+dir+`/uwsgi;
	scgi_temp_path `+dir+`/scgi;
	include `+file+`;
}
`)
	return []string{"-e", "stderr", "-p", dir, "-c", filepath.Join(dir, "nginx.conf")}
}}

var haproxy = program{"haproxy", func(_ *testing.T, _, file string) []string {
	return []string{"-db", "-f", file}
}}

var caddy = program{"caddy", func(_ *testing.T, _, file string) []string {
	return []string{"run", "--adapter", "caddyfile", "--config", file}
}}

// fullDuplex is an option that Caddy does not have before 2.7. Without it, a refusal
// waits for the request's body, and an upload that is answered while it is still
// being sent loses a part.
const fullDuplex = "\tservers {\n\t\tenable_full_duplex\n\t}\n"

func caddyIsOld(t *testing.T) bool {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	write(t, file, "{\n"+fullDuplex+"}\n")
	out, err := exec.Command(caddy.path(t), "adapt", "--adapter", "caddyfile", "--config", file).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "enable_full_duplex") {
		t.Fatalf("caddy adapt: %v\n%s", err, out)
	}
	return err != nil
}

var nghttpx = program{"nghttpx", func(_ *testing.T, _, file string) []string {
	return []string{"--single-process", "--conf=" + file}
}}

// path is where the program is.
func (p program) path(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath(p.name)
	for _, dir := range []string{"/usr/sbin/", "/usr/local/sbin/"} {
		if err != nil {
			path, err = exec.LookPath(dir + p.name)
		}
	}
	if err != nil {
		pgtest.Missing(t, p.name+" is not installed")
	}
	return path
}

// start starts a program on copies of files in deploy, with other addresses, and
// returns the address for visitors. The program stops when the test ends.
func (p program) start(t *testing.T, addresses map[string]string, files ...string) string {
	t.Helper()
	binary := p.path(t)
	addresses = maps.Clone(addresses)
	addresses[visitors], addresses[inner] = pod.FreeAddress(t), pod.FreeAddress(t)
	_, port, _ := net.SplitHostPort(addresses[visitors])
	addresses[":8080 {"] = ":" + port + " {" // with a host here, Caddy would serve only that host
	if p.name == "caddy" && caddyIsOld(t) {
		t.Log("Caddy is older than 2.7, so this does not test a refusal before the body has arrived, or an answer while it arrives")
		addresses[fullDuplex] = ""
	}
	dir := t.TempDir()
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join("../../deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, filepath.Base(file)), replace(string(content), addresses))
	}
	cmd := exec.Command(binary, p.run(t, dir, filepath.Join(dir, filepath.Base(files[0])))...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	var log buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range ended {
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", p.name, log.String())
		}
	})
	awaitListening(t, addresses[visitors], ended)
	return addresses[visitors]
}

// awaitListening waits until connections are accepted, and fails the test if the
// process ends first.
func awaitListening(t *testing.T, address string, ended <-chan error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("the proxy ended before it listened: %v", err)
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("the proxy does not listen: %v", err)
		}
	}
}

// replace replaces all addresses in one pass, so that a new one is not replaced again.
func replace(content string, addresses map[string]string) string {
	var pairs []string
	for from, to := range addresses {
		pairs = append(pairs, from, to)
		// nghttpx has a comma between host and port.
		pairs = append(pairs, strings.Replace(from, ":", ",", 1), strings.Replace(to, ":", ",", 1))
	}
	return strings.NewReplacer(pairs...).Replace(content)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// buffer is a bytes.Buffer that may be read while a process writes to it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
