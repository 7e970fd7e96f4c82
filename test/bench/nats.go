package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// serveNATS is a server whose JetStream syncs each write to disk.
func serveNATS(dir string) (address string, stop func(), err error) {
	server, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir, SyncAlways: true,
	})
	if err != nil {
		return "", nil, err
	}
	server.Start()
	if !server.ReadyForConnections(patience) {
		return "", nil, fmt.Errorf("NATS was not ready within %v", patience)
	}
	return server.ClientURL(), func() { server.Shutdown(); server.WaitForShutdown() }, nil
}

// natsKV watches a key of a JetStream bucket with a connection for each watcher.
type natsKV struct {
	server *child
	writer *nats.Conn
	bucket jetstream.KeyValue
	conns  []*nats.Conn
	saw    seen
	wg     sync.WaitGroup
}

func openNATS(ctx context.Context, saw seen) (system, error) {
	server, err := startChild(ctx, "nats")
	if err != nil {
		return nil, err
	}
	n := &natsKV{server: server, saw: saw}
	if err := n.open(ctx); err != nil {
		server.stop()
		return nil, err
	}
	return n, nil
}

func (n *natsKV) open(ctx context.Context) (err error) {
	if n.writer, err = nats.Connect(n.server.address); err != nil {
		return err
	}
	js, err := jetstream.New(n.writer)
	if err != nil {
		return err
	}
	n.bucket, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "bench", Storage: jetstream.FileStorage, History: 1})
	return err
}

func (n *natsKV) watch(ctx context.Context, watchers int) error {
	for i := len(n.conns); i < watchers; i++ {
		conn, err := nats.Connect(n.server.address)
		if err != nil {
			return err
		}
		n.conns = append(n.conns, conn)
		js, err := jetstream.New(conn)
		if err != nil {
			return err
		}
		bucket, err := js.KeyValue(ctx, "bench")
		if err != nil {
			return err
		}
		watcher, err := bucket.Watch(context.WithoutCancel(ctx), "bench", jetstream.UpdatesOnly())
		if err != nil {
			return err
		}
		n.wg.Go(func() {
			for entry := range watcher.Updates() {
				if entry == nil { // all earlier values have been delivered
					continue
				}
				if value, err := strconv.ParseInt(string(entry.Value()), 10, 64); err == nil {
					n.saw(i, value)
				}
			}
		})
	}
	return nil
}

func (n *natsKV) write(ctx context.Context, value int64) error {
	_, err := n.bucket.PutString(ctx, "bench", strconv.FormatInt(value, 10))
	return err
}

func (n *natsKV) process() int { return n.server.cmd.Process.Pid }

func (n *natsKV) close() {
	for _, conn := range n.conns {
		conn.Close()
	}
	n.writer.Close()
	n.server.stop()
}
