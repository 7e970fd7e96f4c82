package settings

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// answerTimeout is for an answer on a connection that has stood for a while: it
// may have gone dark. On a new one readTimeout counts.
const answerTimeout = time.Second

// link is a connection for one goroutine, made when it is needed, and made anew
// when it breaks or does not answer.
type link struct {
	config    *pgx.ConnConfig
	connected func(context.Context, *pgx.Conn) error // runs first on each new connection
	conn      *pgx.Conn                              // nil: none stands
}

// ask puts a question, and once more on a new connection if the one that stood
// turns out to be broken.
func (l *link) ask(ctx context.Context, question func(context.Context, *pgx.Conn) error) error {
	if l.conn != nil {
		err := l.try(ctx, answerTimeout, question)
		if l.conn != nil || ctx.Err() != nil {
			return err
		}
	}
	connecting, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("no answer within %v", connectTimeout))
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, l.config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	l.conn = conn
	return l.try(ctx, readTimeout, func(ctx context.Context, conn *pgx.Conn) error {
		if err := l.connected(ctx, conn); err != nil {
			return err
		}
		return question(ctx, conn)
	})
}

// try asks on the connection that stands. It goes on standing if there was an
// answer, be it an error.
func (l *link) try(ctx context.Context, timeout time.Duration, question func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	err := question(ctx, l.conn)
	if err != nil && code(err) == "" || l.conn.IsClosed() {
		l.disconnect()
	}
	return err
}

func (l *link) disconnect() {
	if l.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	_ = l.conn.Close(ctx)
	l.conn = nil
}
