package httpx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"
)

// Limits of the server. There is none on how long a request or its answer may take,
// because the upstream may stream, at a [pace]. Each of our own routes is bounded.
const (
	headerTimeout  = 5 * time.Second
	strayTimeout   = 10 * time.Second // for a body that net/http itself reads, after a refusal of its own such as 417
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	noticeTime     = time.Second
	drainTimeout   = 10 * time.Second
)

// Lines are the listeners of a server, which closes them.
type Lines struct {
	// Public is for everybody. Required.
	Public net.Listener

	// Admin serves the admin API, the metrics and the reading routes, but not the
	// platform, so that a crowd on the public line cannot lock out the switch. It is
	// required if [Config.AdminLine] is set, and must be nil if not.
	Admin net.Listener
}

// Serve serves until ctx ends, and must be called only once. When ctx ends, it turns
// readiness off. After 1 s it takes no more connections. Requests in flight then have
// 10 s to finish; those that do not are cut off, and Serve returns nil. It returns an
// error if lines do not match [Config.AdminLine], or if a listener fails.
func (s *Server) Serve(ctx context.Context, lines Lines) error {
	if (lines.Admin != nil) != (s.admin.Echo != nil) {
		return errors.New("serve: set Lines.Admin if Config.AdminLine is set, and only then")
	}
	var servers []*http.Server
	failed := make(chan error, 2)
	serve := func(l net.Listener, h http.Handler) {
		server := s.httpServer(h)
		servers = append(servers, server)
		go func() {
			if server.TLSConfig == nil {
				failed <- server.Serve(l)
			} else {
				failed <- server.ServeTLS(l, "", "")
			}
		}()
	}
	serve(newListener(lines.Public, s.maxConnections, &s.metrics.publicConnections, s.draining), s.public)
	if lines.Admin != nil {
		serve(newListener(lines.Admin, 0, &s.metrics.adminConnections, s.draining), s.admin)
	}
	defer func() {
		for _, server := range servers {
			_ = server.Close()
		}
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}

	s.log.Info("draining: readiness is off, what is under way may finish")
	close(s.draining)
	for _, server := range servers {
		server.SetKeepAlivesEnabled(false)
	}
	select { // load balancers keep sending until they next probe readiness
	case <-time.After(noticeTime):
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	var shutdown errgroup.Group
	for _, server := range servers {
		shutdown.Go(func() error { return server.Shutdown(draining) })
	}
	if err := shutdown.Wait(); err != nil {
		s.log.Warn("requests were cut off: they outlasted the drain", zap.Duration("drain", drainTimeout))
	}
	return nil
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	log, _ := zap.NewStdLogAt(s.log, zapcore.DebugLevel) // fails only for an unknown level
	server := &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  strayTimeout, // the routes set their own
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		ErrorLog:                     log,
		ConnContext:                  connectionOf,
		DisableGeneralOptionsHandler: true, // so that OPTIONS * meets the gate too
	}
	if s.certificate != nil {
		server.TLSConfig = s.certificate.Config()
	}
	return server
}
