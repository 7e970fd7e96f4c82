package settings

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestLeewayGrowsWithEachTimeoutAndIsForgottenWithAnAnswer(t *testing.T) {
	var p leeway
	late := fmt.Errorf("connect: %w", context.DeadlineExceeded)
	for i, step := range []struct {
		ended error
		want  time.Duration
	}{
		{nil, time.Second},
		{late, 2 * time.Second},
		{errors.New("refused"), 2 * time.Second},
		{errMute, 4 * time.Second},
		{late, 4 * time.Second},
		{nil, time.Second},
	} {
		if p.learn(step.ended); p.of(time.Second) != step.want {
			t.Errorf("after step %d, %v: %v, want %v", i, step.ended, p.of(time.Second), step.want)
		}
	}
}
