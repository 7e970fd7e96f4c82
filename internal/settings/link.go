package settings

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// link is a connection for one goroutine. It is made when it is needed, and replaced if
// it breaks or does not answer.
type link struct {
	config    *pgx.ConnConfig
	connected func(context.Context, *pgx.Conn) error // runs first on each new connection; nil: nothing runs
	leeway    leeway
	conn      *pgx.Conn // nil: there is none
}

// ask asks a question. If the existing connection turns out to be broken, it asks again
// on a new one.
func (l *link) ask(ctx context.Context, question func(context.Context, *pgx.Conn) error) error {
	if l.conn != nil {
		err := l.try(ctx, answerTimeout, question)
		if l.conn != nil || ctx.Err() != nil {
			return err
		}
	}
	err := l.connect(ctx)
	if err == nil {
		err = l.try(ctx, l.leeway.of(readTimeout), l.first(question))
	}
	l.leeway.learn(err)
	return err
}

func (l *link) connect(ctx context.Context) (err error) {
	ctx, cancel := timeout(ctx, l.leeway.of(connectTimeout))
	defer cancel()
	l.conn, err = connect(ctx, l.config)
	return err
}

// first wraps a question that is asked on a new connection.
func (l *link) first(question func(context.Context, *pgx.Conn) error) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		if l.connected != nil {
			if err := l.connected(ctx, conn); err != nil {
				return err
			}
		}
		return question(ctx, conn)
	}
}

// try asks on the existing connection, within a time limit. It closes the connection
// unless the server answered, even if only with an error.
func (l *link) try(ctx context.Context, most time.Duration, question func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := timeout(ctx, most)
	defer cancel()
	err := question(ctx, l.conn)
	if err != nil && code(err) == "" || l.conn.IsClosed() {
		l.disconnect()
	}
	return err
}

// up says whether a connection exists.
func (l *link) up() bool { return l.conn != nil }

func (l *link) disconnect() {
	if l.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	_ = l.conn.Close(ctx)
	l.conn = nil
}
