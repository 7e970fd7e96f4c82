package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// serveEtcd is a server of one member with etcd's own defaults: each write is
// synced to disk before it is answered.
func serveEtcd(dir string) (address string, stop func(), err error) {
	config := embed.NewConfig()
	config.Dir = dir
	config.LogLevel = "fatal" // it logs being stopped as an error
	client, peer := freeURL(), freeURL()
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return "", nil, err
	}
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(patience):
		return "", nil, fmt.Errorf("etcd was not ready within %v", patience)
	}
	return client.String(), server.Close, nil
}

func freeURL() url.URL { return url.URL{Scheme: "http", Host: freeAddress()} }

// etcd watches a key. Each watcher has a client, and so a connection, of its own.
type etcd struct {
	server  *child
	writer  *clientv3.Client
	clients []*clientv3.Client
	saw     seen
	wg      sync.WaitGroup
}

func openEtcd(ctx context.Context, saw seen) (system, error) {
	server, err := startChild(ctx, "etcd")
	if err != nil {
		return nil, err
	}
	e := &etcd{server: server, saw: saw}
	if e.writer, err = e.client(); err != nil {
		server.stop()
		return nil, err
	}
	return e, nil
}

func (e *etcd) client() (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{e.server.address}, DialTimeout: patience, Logger: zap.NewNop()})
}

func (e *etcd) watch(ctx context.Context, n int) error {
	for i := len(e.clients); i < n; i++ {
		client, err := e.client()
		if err != nil {
			return err
		}
		e.clients = append(e.clients, client)
		updates := client.Watch(clientv3.WithRequireLeader(context.WithoutCancel(ctx)), "bench", clientv3.WithCreatedNotify())
		select {
		case <-updates: // it was created
		case <-time.After(patience):
			return fmt.Errorf("a watch was not created within %v", patience)
		}
		e.wg.Go(func() {
			for update := range updates {
				for _, event := range update.Events {
					if value, err := strconv.ParseInt(string(event.Kv.Value), 10, 64); err == nil {
						e.saw(i, value)
					}
				}
			}
		})
	}
	return nil
}

func (e *etcd) write(ctx context.Context, value int64) error {
	_, err := e.writer.Put(ctx, "bench", strconv.FormatInt(value, 10))
	return err
}

func (e *etcd) process() int { return e.server.cmd.Process.Pid }

func (e *etcd) close() {
	for _, client := range e.clients {
		_ = client.Close()
	}
	e.wg.Wait()
	_ = e.writer.Close()
	e.server.stop()
}
