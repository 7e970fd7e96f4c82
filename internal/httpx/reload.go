package httpx

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// reloadPeriod is how often files are read again. There is no waiting for file
	// events: the files of a Kubernetes secret are links, and it is their
	// directory that moves.
	reloadPeriod = 5 * time.Second

	// settleTime is how long new content must stay the same to be believed: it
	// may be half written, or a key may have changed and its certificate not yet.
	settleTime = 500 * time.Millisecond
	settleRuns = 3

	maxReloadedFile = 1 << 20
)

// reloaded is what files say. It follows their content; while they cannot be
// used it keeps what they said last, and has a problem.
type reloaded[T any] struct {
	topic   string // what the files are, for the log and in problems
	paths   []string
	parse   func(contents [][]byte) (T, error)
	inspect func(T) string // what is wrong with the value in use, "" for nothing; may be nil
	log     *zap.Logger

	current atomic.Pointer[T]
	problem atomic.Pointer[string] // nil: none
	sum     [sha256.Size]byte      // of what current was made of
}

// load reads the files for the first time. It fails if they cannot be used.
func (r *reloaded[T]) load() error {
	if r.log == nil {
		r.log = zap.NewNop()
	}
	var err error
	for run := range settleRuns {
		if run > 0 {
			time.Sleep(settleTime)
		}
		var contents [][]byte
		if contents, err = r.read(); err != nil {
			continue
		}
		if err = r.adopt(contents); err == nil {
			return nil
		}
	}
	return err
}

// Run follows the files until ctx ends, and then returns nil.
func (r *reloaded[T]) Run(ctx context.Context) error {
	if len(r.paths) == 0 {
		return nil
	}
	ticker := time.NewTicker(reloadPeriod)
	defer ticker.Stop()
	for {
		r.look(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look reads the files once, and more often if they have changed.
func (r *reloaded[T]) look(ctx context.Context) {
	contents, err := r.read()
	for run := 0; err != nil || sumOf(contents) != r.sum; run++ {
		if run == settleRuns {
			r.report(err.Error() + "; what was read before stays in force")
			return
		}
		select {
		case <-time.After(settleTime):
		case <-ctx.Done():
			return
		}
		before := contents
		if contents, err = r.read(); err != nil {
			continue
		}
		if !slices.EqualFunc(before, contents, bytes.Equal) {
			err = errors.New("it keeps changing")
			continue
		}
		if err = r.adopt(contents); err == nil {
			r.log.Info("read again", zap.String("topic", r.topic), zap.Strings("files", r.paths))
		}
	}
	problem := ""
	if r.inspect != nil {
		problem = r.inspect(*r.current.Load())
	}
	r.report(problem)
}

func (r *reloaded[T]) adopt(contents [][]byte) error {
	value, err := r.parse(contents)
	if err != nil {
		return err
	}
	r.current.Store(&value)
	r.sum = sumOf(contents)
	return nil
}

func (r *reloaded[T]) read() ([][]byte, error) {
	contents := make([][]byte, len(r.paths))
	for i, path := range r.paths {
		var err error
		if contents[i], err = readFile(path); err != nil {
			return nil, err
		}
	}
	return contents, nil
}

// readFile refuses what could block, and what could fill the memory.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxReloadedFile+1))
	if err == nil && len(content) > maxReloadedFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxReloadedFile)
	}
	return content, err
}

// sumOf tells contents apart, also by where one ends and the next begins.
func sumOf(contents [][]byte) [sha256.Size]byte {
	var sums []byte
	for _, content := range contents {
		sum := sha256.Sum256(content)
		sums = append(sums, sum[:]...)
	}
	return sha256.Sum256(sums)
}

// report sets what is wrong, "" for nothing, and logs it if that is new.
func (r *reloaded[T]) report(problem string) {
	was := r.Problem()
	if problem != "" {
		problem = r.topic + ": " + problem
	}
	r.problem.Store(&problem)
	switch {
	case problem == was:
	case problem == "":
		r.log.Info("recovered", zap.String("topic", r.topic), zap.String("was", was))
	default:
		r.log.Warn("degraded", zap.String("topic", r.topic), zap.String("problem", problem))
	}
}

// Problem says what is wrong, "" for nothing.
func (r *reloaded[T]) Problem() string {
	if problem := r.problem.Load(); problem != nil {
		return *problem
	}
	return ""
}
