package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"platform-settings/internal/httpx"
)

// maxTokenLife is the most that --for takes, in days.
const maxTokenLife = 36500

// newToken runs `api token new`, and returns the exit code. It prints the token and
// its line for ADMIN_TOKENS_FILE, and stores neither.
func newToken(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("api token new", flag.ContinueOnError)
	flags.SetOutput(stderr)
	name := flags.String("name", "", "its owner, as shown in the history and the log")
	role := flags.String("role", "", "viewer, operator or admin")
	asJSON := flags.Bool("json", false, "print JSON")
	var end time.Time
	flags.Func("for", "how long it is valid, such as 90d, 12h or 30m (default: no end)", func(s string) error {
		life, err := parseLife(s)
		end = time.Now().Add(life)
		return err
	})
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "api token new: unexpected arguments %q\n", flags.Args())
		return exitUsage
	}
	token, line, err := httpx.NewToken(*name, *role, end)
	if err != nil {
		fmt.Fprintf(stderr, "api token new: %v; usage: api token new --name NAME --role ROLE\n", err)
		return exitUsage
	}
	if *asJSON {
		err = json.NewEncoder(stdout).Encode(map[string]string{"token": token, "line": line})
	} else {
		fmt.Fprintln(stderr, "The token, which is not shown again, and below it the line for ADMIN_TOKENS_FILE:")
		_, err = fmt.Fprintf(stdout, "%s\n%s\n", token, line)
	}
	if err != nil {
		fmt.Fprintln(stderr, "api token new:", err)
		return 1
	}
	return 0
}

// parseLife parses a duration that may be in days. It is at least a second, because
// the file has its times in whole seconds.
func parseLife(s string) (time.Duration, error) {
	life, err := time.ParseDuration(s)
	if days, inDays := strings.CutSuffix(s, "d"); inDays {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 32)
		life = time.Duration(min(n, maxTokenLife+1)) * 24 * time.Hour
	}
	if err != nil || life < time.Second || life > maxTokenLife*24*time.Hour {
		return 0, fmt.Errorf("want a duration such as 90d, 12h or 30m, at most %dd", maxTokenLife)
	}
	return life, nil
}
