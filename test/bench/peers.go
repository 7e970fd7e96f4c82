package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/launchdarkly/go-sdk-common/v3/ldcontext"
	"github.com/launchdarkly/go-sdk-common/v3/ldvalue"
	ld "github.com/launchdarkly/go-server-sdk/v7"
	"github.com/launchdarkly/go-server-sdk/v7/ldcomponents"
	"github.com/launchdarkly/go-server-sdk/v7/testhelpers/ldtestdata"
	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/memprovider"
)

// origin is what this project replaced: a copy behind a mutex, whose age is checked
// against the clock on each call.
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
		o.readAt = time.Now() // the real one would read the table here while every request waits
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
