package test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

const alerts = "../docs/alerts/platform-settings"

// Prometheus's own tool checks that the alert rules fire when they should, and only
// then.
func TestTheAlertRulesFireWhenTheyShould(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		pgtest.Missing(t, "promtool is not installed")
	}
	for _, args := range [][]string{{"check", "rules", alerts + ".yml"}, {"test", "rules", alerts + "_test.yml"}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// An alert on a metric that does not exist would never fire.
func TestAPodHasEveryMetricThatTheAlertRulesNeed(t *testing.T) {
	rules, err := os.ReadFile(alerts + ".yml")
	if err != nil {
		t.Fatal(err)
	}
	metrics := string(pod.Fleet(t, 1, pgtest.Database(t))[0].Must(200, "GET", "/metrics", "", "").Body)
	for word := range strings.FieldsFuncSeq(string(rules), func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
		if strings.HasPrefix(word, "settings_") && !strings.Contains(metrics, "\n"+word) {
			t.Errorf("no pod has %s", word)
		}
	}
}
