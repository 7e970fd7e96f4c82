package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// redisPubSub sets a key and publishes the value on a channel, in one transaction. The
// key is durable (appendfsync always). The message is not: a watcher that is away when
// it is sent never gets it.
type redisPubSub struct {
	server  *exec.Cmd
	dir     string
	address string
	writer  *redis.Client
	clients []*redis.Client
	saw     seen
	wg      sync.WaitGroup
}

func openRedis(ctx context.Context, saw seen) (system, error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, &missingError{"redis-server is not installed (Debian: apt-get install redis-server)"}
	}
	r := &redisPubSub{address: freeAddress(), saw: saw}
	if r.dir, err = os.MkdirTemp("", "bench-redis-"); err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(r.address, ":")
	r.server = exec.Command(binary, "--port", port, "--bind", "127.0.0.1", "--dir", r.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--maxclients", "4000")
	r.server.SysProcAttr = diesWithUs()
	if err := r.server.Start(); err != nil {
		return nil, err
	}
	r.writer = r.client()
	err = until(ctx, "redis answers", func() (bool, error) { return r.writer.Ping(ctx).Err() == nil, nil })
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *redisPubSub) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: r.address, ContextTimeoutEnabled: true})
}

func (r *redisPubSub) watch(ctx context.Context, n int) error {
	for i := len(r.clients); i < n; i++ {
		client := r.client()
		r.clients = append(r.clients, client)
		subscription := client.Subscribe(context.WithoutCancel(ctx), "bench")
		if _, err := subscription.Receive(ctx); err != nil { // it is confirmed
			return fmt.Errorf("subscribe: %w", err)
		}
		r.wg.Go(func() {
			for message := range subscription.Channel() {
				if value, err := strconv.ParseInt(message.Payload, 10, 64); err == nil {
					r.saw(i, value)
				}
			}
		})
	}
	return nil
}

func (r *redisPubSub) write(ctx context.Context, value int64) error {
	_, err := r.writer.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, "bench", value, 0)
		p.Publish(ctx, "bench", value)
		return nil
	})
	return err
}

func (r *redisPubSub) process() int { return r.server.Process.Pid }

func (r *redisPubSub) close() {
	for _, client := range r.clients {
		_ = client.Close()
	}
	_ = r.writer.Close()
	_ = r.server.Process.Kill()
	_ = r.server.Wait()
	_ = os.RemoveAll(r.dir)
}
