package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// settingsCount is how many settings each library holds while it is read.
const settingsCount = 1000

// reader reads one thing in one library.
type reader struct {
	what, library string
	read          func(n int) int64   // reads n times; the result keeps the compiler from removing the reads
	write         func(i int64) error // one write of the writer that runs meanwhile
}

// openReaders makes the readers of all libraries. Each library has the same settings.
func openReaders(ctx context.Context) (readers []reader, stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for _, library := range []func(context.Context) ([]reader, func(), error){ourReaders, originReaders, openFeatureReaders, launchDarklyReaders} {
		more, s, err := library(ctx)
		if err != nil {
			stop()
			return nil, nil, err
		}
		readers, stops = append(readers, more...), append(stops, s)
	}
	return readers, stop, nil
}

// What is read.
const (
	isMaintenanceOn = "is maintenance on?"
	aTypedKey       = "a typed key"
	aKeyByName      = "a key by name"
)

func ourReaders(ctx context.Context) ([]reader, func(), error) {
	server, err := startPostgres(ctx, 50, nil)
	if err != nil {
		return nil, nil, err
	}
	url, err := migrated(ctx, server)
	if err == nil {
		err = run(ctx, url, fmt.Sprintf(`INSERT INTO platform_settings (key, value_int) SELECT 'setting_' || i, i FROM generate_series(1, %d) i`, settingsCount-2))
	}
	if err != nil {
		stopPostgres(server)
		return nil, nil, err
	}
	f := &fleet{url: url, names: true, ttl: 10 * time.Second}
	if err := f.grow(ctx, 1); err != nil {
		stopPostgres(server)
		return nil, nil, err
	}
	writer, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, nil, err
	}
	engine, bench := f.pods[0].Engine, f.pods[0].bench
	write := func(i int64) error {
		_, err := writer.Exec(ctx, ourWrite, i)
		return err
	}
	readers := []reader{
		{isMaintenanceOn, "ours", func(n int) (on int64) {
			for range n {
				if engine.Maintenance().ActiveNow() {
					on++
				}
			}
			return on
		}, write},
		{aTypedKey, "ours", func(n int) (sum int64) {
			for range n {
				sum += bench.Value()
			}
			return sum
		}, write},
		{aKeyByName, "ours", func(n int) (sum int64) {
			for range n {
				sum += engine.Current().Lookup("bench").Value.Int()
			}
			return sum
		}, write},
	}
	return readers, func() {
		_ = writer.Close(context.Background())
		f.stop()
		stopPostgres(server)
	}, nil
}

// writePause is the pause between two writes to a library that is being read. It is
// about as long as a durable COMMIT, so that all libraries get as many writes.
const writePause = time.Millisecond

// sink keeps the compiler from removing what is measured.
var sink atomic.Int64

// cost is the time of one read in nanoseconds, if several goroutines make n reads each
// at once.
func cost(read func(n int) int64, n, goroutines int) float64 {
	var wg sync.WaitGroup
	began := time.Now()
	for range goroutines {
		wg.Go(func() { sink.Add(read(n)) })
	}
	wg.Wait()
	return float64(time.Since(began)) / float64(n)
}

// enough is how many reads take about this long.
func enough(read func(n int) int64, span time.Duration) int {
	n := 1
	for {
		if c := cost(read, n, 1) * float64(n); c > float64(span)/10 {
			return max(int(float64(n)*float64(span)/c), 1)
		}
		n *= 4
	}
}

// allocations is the bytes and objects that one read allocates.
func allocations(read func(n int) int64) (bytes, objects float64) {
	const n = 10000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sink.Add(read(n))
	runtime.ReadMemStats(&after)
	// Whatever else the process allocates meanwhile disappears by rounding.
	return round(float64(after.TotalAlloc-before.TotalAlloc)/n, 0), round(float64(after.Mallocs-before.Mallocs)/n, 1)
}

// reading measures what a read costs: alone, on all cores at once, and while a writer
// writes.
func reading(ctx context.Context, r *report, o options) error {
	readers, stop, err := openReaders(ctx)
	if err != nil {
		return err
	}
	defer stop()
	const repeats = 9
	alone, all, written := make([][]float64, len(readers)), make([][]float64, len(readers)), make([][]float64, len(readers))
	span := o.measure / 100
	for range repeats { // in turn, so that noise affects all alike
		for i, reader := range readers {
			n := enough(reader.read, span)
			alone[i] = append(alone[i], cost(reader.read, n, 1))
			all[i] = append(all[i], cost(reader.read, n, runtime.GOMAXPROCS(0)))
			stop := keepWriting(reader.write)
			written[i] = append(written[i], cost(reader.read, n, 1))
			if err := stop(); err != nil {
				return err
			}
		}
	}
	s := r.section("reading", fmt.Sprintf("One read, of %d settings; ns, the median of %d runs in turn. On all cores: by each of %d goroutines. While written: a writer commits once a millisecond, or as fast as it can.", settingsCount, repeats, runtime.GOMAXPROCS(0)),
		"what", "library", "alone", "on all cores", "while written", "bytes", "allocations")
	reach := map[string]float64{isMaintenanceOn: 2, aTypedKey: 3, aKeyByName: 25}
	for _, what := range []string{isMaintenanceOn, aTypedKey, aKeyByName} {
		for i, reader := range readers {
			if reader.what != what {
				continue
			}
			bytes, objects := allocations(reader.read)
			s.row(what, reader.library, round(median(alone[i]), 2), round(median(all[i]), 2), round(median(written[i]), 2), bytes, objects)
			if reader.library == "ours" {
				r.reach(what, reach[what], round(median(alone[i]), 2), "ns")
				r.reach(what+" allocations", 0, objects, "")
			}
		}
	}
	return nil
}

// keepWriting writes until it is stopped.
func keepWriting(write func(int64) error) (stop func() error) {
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := int64(1); ; i++ {
			select {
			case <-done:
				ended <- nil
				return
			case <-time.After(writePause):
			}
			if err := write(i); err != nil {
				ended <- err
				return
			}
		}
	}()
	return func() error { close(done); return <-ended }
}
