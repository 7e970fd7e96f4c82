// Command api is one pod: it keeps the platform's settings in memory, serves
// them, and gates the platform while maintenance is on.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"platform-settings/db/migrations"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const usage = `Usage:
  api [serve]             serve, until SIGTERM or SIGINT
  api migrate up          bring the schema up to date
  api migrate down        remove the schema, and every setting with it
  api migrate version     print the schema's version
  api maintenance on      turn maintenance on, and wait until every pod has it in force
  api maintenance off     turn it off, and wait likewise
  api maintenance status  print what one pod has in force
  api fleet               print which pods have the last revision in force
  api token new           print a new admin token, and its line for ADMIN_TOKENS_FILE
  api help                print this

`

// run is the program. It returns the exit code: 0; 1 for a failure; 2 for wrong
// usage; 3 for a change that is committed, but that some pod may not have in force.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		args = []string{"serve"}
	}
	if args[0] == "maintenance" || args[0] == "fleet" {
		return operate(ctx, args, stdout, stderr)
	}
	if len(args) > 1 && args[0] == "token" && args[1] == "new" {
		return newToken(args[2:], stdout, stderr)
	}
	var command func(context.Context, config, *zap.Logger) error
	switch words := fmt.Sprint(args); words {
	case "[help]", "[-h]", "[-help]", "[--help]":
		fmt.Fprint(stdout, usage, "Environment of serve and migrate:\n")
		describeConfig(stdout, reflect.TypeFor[config]())
		fmt.Fprint(stdout, "\nEnvironment of maintenance and fleet:\n")
		describeConfig(stdout, reflect.TypeFor[clientConfig]())
		return 0
	case "[serve]":
		command = serve
	case "[migrate up]":
		command = migrateUp
	case "[migrate down]":
		command = func(ctx context.Context, c config, _ *zap.Logger) error {
			return migrations.Down(ctx, string(c.DatabaseURL))
		}
	case "[migrate version]":
		command = func(ctx context.Context, c config, _ *zap.Logger) error {
			version, dirty, err := migrations.Version(ctx, string(c.DatabaseURL))
			if err != nil {
				return err
			}
			note := ""
			if dirty {
				note = " (dirty)"
			}
			_, err = fmt.Fprintf(stdout, "%d%s\n", version, note)
			return err
		}
	default:
		fmt.Fprintf(stderr, "api: unknown command %q; see api help\n", args)
		return 2
	}

	c, err := readConfig(environment())
	if err != nil {
		fmt.Fprintln(stderr, "api:", err)
		return 1
	}
	log := newLogger(c, stderr)
	defer func() { _ = log.Sync() }()
	if err := command(ctx, c, log); err != nil {
		fmt.Fprintln(stderr, "api:", err)
		return 1
	}
	return 0
}

func newLogger(c config, w io.Writer) *zap.Logger {
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoder := zapcore.NewJSONEncoder(encoding)
	if c.LogFormat == "console" {
		encoder = zapcore.NewConsoleEncoder(encoding)
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), zapcore.Level(c.LogLevel))
	return zap.New(core).With(zap.String("pod", string(c.PodName)))
}
