package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Standby makes an asynchronous streaming replica of the server. Meanwhile the server is
// down for a moment, because its data directory is copied. Promote the standby with
// pg_promote(). The caller stops it.
func (s *Server) Standby(ctx context.Context) (*Server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, fmt.Errorf("make a standby: %w", errStopped)
	}
	if err := s.down(ctx); err != nil {
		return nil, fmt.Errorf("make a standby: %w", err)
	}
	standby := &Server{config: s.config, bin: s.bin, account: s.account}
	standby.config.Dir, standby.config.Port = "", 0
	err := standby.makeDir()
	if err == nil {
		err = standby.clone(ctx, s)
	}
	err = errors.Join(err, s.up(ctx, false))
	if err == nil {
		err = standby.up(ctx, true)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a standby: %w", err), standby.remove())
	}
	return standby, nil
}

func (s *Server) clone(ctx context.Context, primary *Server) error {
	s.socketDir = filepath.Join(s.dir, "socket")
	if err := s.account.mkdir(s.socketDir); err != nil {
		return err
	}
	// cp keeps owners and modes.
	if out, err := exec.CommandContext(ctx, "cp", "-a", primary.data(), s.data()).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the data: %w\n%s", err, out)
	}
	line := fmt.Sprintf("primary_conninfo = 'host=%s port=%d user=postgres'\n", primary.Host(), primary.Port())
	for name, content := range map[string]string{"standby.signal": "", "postgresql.auto.conf": line} {
		path := filepath.Join(s.data(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
		if err := s.account.own(path); err != nil {
			return err
		}
	}
	return nil
}
