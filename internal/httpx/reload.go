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
	// reloadPeriod is how often files are read again. File events would not do: the
	// files of a Kubernetes secret are links into a directory, and an update replaces
	// the directory, not the files.
	reloadPeriod = 5 * time.Second

	// settleTime is how long new content must stay the same before it is used. Until
	// then a file may be half written, or a key may be new and its certificate old.
	settleTime = 500 * time.Millisecond
	settleRuns = 3

	maxReloadedFile = 1 << 20
)

// reloaded is a value that is read from files, and follows their content. While the
// files cannot be used, it keeps the last value and reports a problem.
type reloaded[T any] struct {
	topic   string // names the files in the log and in problems
	paths   []string
	parse   func(contents [][]byte) (T, error)
	inspect func(T) string // says what is wrong with the value in use, "" if nothing; may be nil
	log     *zap.Logger

	current atomic.Pointer[T]
	problem atomic.Pointer[string] // nil: none
	sum     [sha256.Size]byte      // of the contents that current was made from
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

// look reads the files. If they have changed or cannot be used, it reads them again
// until they have settled, or settleRuns are over.
func (r *reloaded[T]) look(ctx context.Context) {
	contents, err := r.read()
	for run := 0; err != nil || sumOf(contents) != r.sum; run++ {
		if run == settleRuns {
			r.report(err.Error() + "; the previous content stays in use")
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
			err = errors.New("the content keeps changing")
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

// readFile refuses files that could block, such as pipes, and files that could fill the
// memory.
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

// sumOf is a hash of the contents. It also depends on where one ends and the next begins.
func sumOf(contents [][]byte) [sha256.Size]byte {
	var sums []byte
	for _, content := range contents {
		sum := sha256.Sum256(content)
		sums = append(sums, sum[:]...)
	}
	return sha256.Sum256(sums)
}

// report sets the problem, "" for none, and logs it if it has changed.
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

// Problem says what is wrong; "" if nothing is.
func (r *reloaded[T]) Problem() string {
	if problem := r.problem.Load(); problem != nil {
		return *problem
	}
	return ""
}
