package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/launchdarkly/go-sdk-common/v3/ldcontext"
	"github.com/launchdarkly/go-sdk-common/v3/ldvalue"
	ld "github.com/launchdarkly/go-server-sdk/v7"
	"github.com/launchdarkly/go-server-sdk/v7/ldcomponents"
	"github.com/launchdarkly/go-server-sdk/v7/testhelpers/ldtestdata"
	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/memprovider"
)

// settingsCount is how many settings each library holds while it is read.
const settingsCount = 1000

// reader reads one thing in one library.
type reader struct {
	what, library string
	read          func(n int) int64   // n times; the answer keeps the compiler from leaving it out
	write         func(i int64) error // what a writer does meanwhile
}

// openReaders has the readers of all libraries, each holding the same settings.
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
	return []reader{
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
	}, func() {
		_ = writer.Close(context.Background())
		f.stop()
		stopPostgres(server)
	}, nil
}

// origin is the shape that this project came from: a copy behind a mutex, and a
// look at the clock on each call.
type origin struct {
	mu     sync.Mutex
	readAt time.Time
	on     bool
	values map[string]int64
}

const (
	originName = "mutex and TTL check"
	originTTL  = 10 * time.Second
)

func (o *origin) fresh() {
	if time.Since(o.readAt) > originTTL {
		o.readAt = time.Now() // it would read the table here, with every request waiting
	}
}

func (o *origin) maintenance() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fresh()
	return o.on
}

func (o *origin) value(key string) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fresh()
	return o.values[key]
}

func originReaders(context.Context) ([]reader, func(), error) {
	o := &origin{readAt: time.Now(), values: map[string]int64{"bench": 1}}
	for i := range settingsCount - 1 {
		o.values[fmt.Sprintf("setting_%d", i)] = int64(i)
	}
	write := func(i int64) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.values["bench"] = i
		return nil
	}
	return []reader{
		{isMaintenanceOn, originName, func(n int) (on int64) {
			for range n {
				if o.maintenance() {
					on++
				}
			}
			return on
		}, write},
		{aKeyByName, originName, func(n int) (sum int64) {
			for range n {
				sum += o.value("bench")
			}
			return sum
		}, write},
	}, func() {}, nil
}

func openFeatureReaders(ctx context.Context) ([]reader, func(), error) {
	flags := func(value int64) map[string]memprovider.InMemoryFlag {
		flags := map[string]memprovider.InMemoryFlag{
			"maintenance_mode": {Key: "maintenance_mode", State: memprovider.Enabled, DefaultVariant: "off", Variants: map[string]any{"on": true, "off": false}},
			"bench":            {Key: "bench", State: memprovider.Enabled, DefaultVariant: "it", Variants: map[string]any{"it": value}},
		}
		for i := range settingsCount - 2 {
			key := fmt.Sprintf("setting_%d", i)
			flags[key] = memprovider.InMemoryFlag{Key: key, State: memprovider.Enabled, DefaultVariant: "it", Variants: map[string]any{"it": int64(i)}}
		}
		return flags
	}
	all := flags(1)
	provider := memprovider.NewInMemoryProvider(all)
	if err := openfeature.SetProviderAndWait(provider); err != nil {
		return nil, nil, err
	}
	client := openfeature.NewDefaultClient()
	who := openfeature.NewEvaluationContext("bench", nil)
	write := func(i int64) error {
		all["bench"] = memprovider.InMemoryFlag{Key: "bench", State: memprovider.Enabled, DefaultVariant: "it", Variants: map[string]any{"it": i}}
		provider.UpdateFlags(all)
		return nil
	}
	const name = "OpenFeature, in memory"
	return []reader{
		{isMaintenanceOn, name, func(n int) (on int64) {
			for range n {
				if client.Boolean(ctx, "maintenance_mode", true, who) {
					on++
				}
			}
			return on
		}, write},
		{aKeyByName, name, func(n int) (sum int64) {
			for range n {
				sum += client.Int(ctx, "bench", -1, who)
			}
			return sum
		}, write},
	}, func() { openfeature.Shutdown() }, nil
}

func launchDarklyReaders(context.Context) ([]reader, func(), error) {
	data := ldtestdata.DataSource()
	data.Update(data.Flag("maintenance_mode").BooleanFlag().VariationForAll(false))
	data.Update(data.Flag("bench").ValueForAll(ldvalue.Int(1)))
	for i := range settingsCount - 2 {
		data.Update(data.Flag(fmt.Sprintf("setting_%d", i)).ValueForAll(ldvalue.Int(i)))
	}
	client, err := ld.MakeCustomClient("bench", ld.Config{
		DataSource: data, Events: ldcomponents.NoEvents(), Logging: ldcomponents.NoLogging(), DiagnosticOptOut: true,
	}, patience)
	if err != nil {
		return nil, nil, err
	}
	who := ldcontext.New("bench")
	write := func(i int64) error {
		data.Update(data.Flag("bench").ValueForAll(ldvalue.Int(int(i))))
		return nil
	}
	const name = "LaunchDarkly, test data"
	return []reader{
		{isMaintenanceOn, name, func(n int) (on int64) {
			for range n {
				if is, _ := client.BoolVariation("maintenance_mode", who, true); is {
					on++
				}
			}
			return on
		}, write},
		{aKeyByName, name, func(n int) (sum int64) {
			for range n {
				value, _ := client.IntVariation("bench", who, -1)
				sum += int64(value)
			}
			return sum
		}, write},
	}, func() { _ = client.Close() }, nil
}

// writePause is between two writes to a library that is read meanwhile: about
// what a durable COMMIT takes, so that all get as many.
const writePause = time.Millisecond

// sink keeps the compiler from leaving out what is measured.
var sink atomic.Int64

// cost is nanoseconds for one of n reads in each of some goroutines at once.
func cost(read func(n int) int64, n, goroutines int) float64 {
	var wg sync.WaitGroup
	began := time.Now()
	for range goroutines {
		wg.Go(func() { sink.Add(read(n)) })
	}
	wg.Wait()
	return float64(time.Since(began)) / float64(n)
}

// enough is how many reads take about so long.
func enough(read func(n int) int64, span time.Duration) int {
	n := 1
	for {
		if c := cost(read, n, 1) * float64(n); c > float64(span)/10 {
			return max(int(float64(n)*float64(span)/c), 1)
		}
		n *= 4
	}
}

// allocations is bytes and objects for one read.
func allocations(read func(n int) int64) (bytes, objects float64) {
	const n = 10000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sink.Add(read(n))
	runtime.ReadMemStats(&after)
	// What else the process allocates meanwhile is no read's: it rounds away.
	return round(float64(after.TotalAlloc-before.TotalAlloc)/n, 0), round(float64(after.Mallocs-before.Mallocs)/n, 1)
}

// reading is what a read costs: alone, on all cores at once, and while a writer
// goes on.
func reading(ctx context.Context, r *report, o options) error {
	readers, stop, err := openReaders(ctx)
	if err != nil {
		return err
	}
	defer stop()
	const repeats = 9
	alone, all, written := make([][]float64, len(readers)), make([][]float64, len(readers)), make([][]float64, len(readers))
	span := o.measure / 100
	for range repeats { // in turn, so that noise hits each alike
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
