package migrations_test

import (
	"os"
	"testing"

	"platform-settings/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
