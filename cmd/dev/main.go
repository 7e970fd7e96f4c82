// Command dev runs a fleet to try things on: a throwaway PostgreSQL, a few pods
// of cmd/api, and a view of what each of them serves. It leaves nothing behind.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"platform-settings/internal/pgserver"
)

func main() {
	count := flag.Int("pods", 3, "how many pods")
	length := flag.Duration("for", 0, "stop after this time; 0: run until Ctrl-C")
	flag.Parse()
	if *count < 1 || *length < 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	asked, hurried := interrupts()
	if err := run(asked, hurried, *count, *length); err != nil {
		fmt.Fprintln(os.Stderr, "dev:", err)
		os.Exit(1)
	}
}

// interrupts returns a context that ends with the first signal to stop, and one
// that ends with the second, from somebody who does not want to wait.
func interrupts() (asked, hurried context.Context) {
	asked, ask := context.WithCancel(context.Background())
	hurried, hurry := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	// Without this, SIGPIPE would end us at once when the reader of our output
	// has gone, as in "| head", and nothing would be cleaned up.
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	go func() {
		<-signals
		ask()
		for s := range signals {
			if s == os.Interrupt || s == syscall.SIGTERM {
				hurry()
			}
		}
	}()
	return asked, hurried
}

// run runs the fleet until it is asked to stop. Being stopped early is no error.
func run(asked, hurried context.Context, count int, length time.Duration) (err error) {
	screen := newScreen(os.Stdout)
	dir, err := os.MkdirTemp("", "platform-settings-dev-")
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(dir))
		screen.say("stopped")
	}()

	screen.say("building cmd/api and starting PostgreSQL …")
	binary, err := build(asked, dir)
	if err != nil {
		return unless(asked, err)
	}
	server, err := pgserver.Start(asked, pgserver.Config{})
	if err != nil {
		return unless(asked, err)
	}
	defer func() { err = errors.Join(err, server.Stop(hurried)) }()

	token := adminToken()
	pods, err := startPods(binary, dir, count, server.URL("postgres"), token)
	defer func() {
		screen.say("stopping; Ctrl-C again to hurry …")
		stopPods(hurried, pods)
	}()
	if err != nil {
		return err
	}
	fleet, err := newFleet(asked, pods)
	if err != nil {
		return unless(asked, err)
	}

	screen.say(introduction(server, pods, dir, token))
	watching := asked
	if length > 0 {
		var cancel context.CancelFunc
		watching, cancel = context.WithTimeout(asked, length)
		defer cancel()
	}
	fleet.watch(watching, server, screen)
	return nil
}

// unless drops an error if we were asked to stop, because then that is its cause.
func unless(asked context.Context, err error) error {
	if asked.Err() != nil {
		return nil
	}
	return err
}

// build compiles the pods' program.
func build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "api")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "platform-settings/cmd/api")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build cmd/api: %w\n%s", err, out)
	}
	return binary, nil
}

func adminToken() string {
	secret := make([]byte, 24)
	_, _ = rand.Read(secret) // never fails
	return hex.EncodeToString(secret)
}

// introduction lists what is running, and commands to try on it.
func introduction(server *pgserver.Server, pods []*pod, dir, token string) string {
	database := server.URL("postgres")
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "\nPostgreSQL\tpid %d\t%s\n", server.PID(), database)
	for _, p := range pods {
		fmt.Fprintf(table, "%s\tpid %d\t%s\n", p.name, p.process.Pid, p.url)
	}
	fmt.Fprintf(table, "admin token\t\t%s\n", token)
	fmt.Fprintf(table, "logs\t\t%s\n", filepath.Join(dir, "pod-*.log"))
	_ = table.Flush() // a strings.Builder never fails

	fmt.Fprintf(&text, `
Turn maintenance on, and see which pods have it:
  curl -X PUT -H "Authorization: Bearer %s" -H 'Prefer: wait=5' -H 'Content-Type: application/json' -d '{"enabled":true,"message":"Back soon"}' %s/api/v1/admin/maintenance
Flip it as a DBA would:
  psql '%s' -c "UPDATE platform_settings SET value_bool = NOT value_bool WHERE key = 'maintenance_mode'"
See what clients get, from another pod:
  curl -i %s/
Ctrl-C stops everything and removes it.
`, token, pods[0].url, database, pods[min(1, len(pods)-1)].url)
	return text.String()
}
