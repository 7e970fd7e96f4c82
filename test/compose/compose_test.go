// Package compose checks docker-compose.yml and the files it builds on, without
// running containers. It is a module of its own to keep the parser out of the
// product's module.
package compose

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const root = "../.."

// required are the variables without which the file does not load.
var required = map[string]string{
	"ADMIN_TOKENS":      "me:admin:0123456789abcdef0123456789abcdef",
	"POSTGRES_PASSWORD": "secret",
}

// load parses and validates the file. The environment has only the required
// variables, except for the one named.
func load(ctx context.Context, without string) (*types.Project, error) {
	var environment []string
	for name, value := range required {
		if name != without {
			environment = append(environment, name+"="+value)
		}
	}
	options, err := cli.NewProjectOptions([]string{root + "/docker-compose.yml"},
		cli.WithEnv(environment),
		// Otherwise variables that are only passed through would be dropped.
		cli.WithoutEnvironmentResolution)
	if err != nil {
		return nil, err
	}
	return options.LoadProject(ctx)
}

func project(t *testing.T) *types.Project {
	t.Helper()
	p, err := load(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pods are the services that run our own image.
func pods(t *testing.T, p *types.Project) []types.ServiceConfig {
	t.Helper()
	var found []types.ServiceConfig
	for _, name := range p.ServiceNames() {
		if s := p.Services[name]; s.Build != nil {
			found = append(found, s)
		}
	}
	if len(found) != 3 {
		t.Fatalf("%d pods, want 3", len(found))
	}
	return found
}

func TestPodsAreConfiguredWithVariablesThatExist(t *testing.T) {
	help := exec.CommandContext(t.Context(), "go", "run", "./cmd/api", "help")
	help.Dir = root
	help.Stderr = os.Stderr
	out, err := help.Output()
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(out), "\nEnvironment of serve and migrate:\n")
	section, _, _ = strings.Cut(section, "\nEnvironment of ")
	var known []string
	for _, match := range regexp.MustCompile(`(?m)^  ([A-Z][A-Z0-9_]+)\s`).FindAllStringSubmatch(section, -1) {
		known = append(known, match[1])
	}
	if !slices.Contains(known, "DATABASE_URL") {
		t.Fatalf("api help lists no variables:\n%s", out)
	}
	for _, pod := range pods(t, project(t)) {
		for name := range pod.Environment {
			if !slices.Contains(known, name) {
				t.Errorf("%s sets %s, which cmd/api does not know", pod.Name, name)
			}
		}
		for _, name := range []string{"DATABASE_URL", "ADMIN_TOKENS", "POD_NAME"} {
			if value := pod.Environment[name]; value == nil || *value == "" {
				t.Errorf("%s does not set %s", pod.Name, name)
			}
		}
		if name := pod.Environment["POD_NAME"]; name != nil && *name != pod.Name {
			t.Errorf("%s calls itself %s", pod.Name, *name)
		}
	}
}

func TestPodsWaitForAHealthyDatabase(t *testing.T) {
	p := project(t)
	check := p.Services["postgres"].HealthCheck
	if check == nil || check.Disable || !slices.Contains(check.Test, "pg_isready") {
		t.Errorf("postgres has no health check with pg_isready: %+v", check)
	}
	for _, pod := range pods(t, p) {
		if have := pod.DependsOn["postgres"].Condition; have != types.ServiceConditionHealthy {
			t.Errorf("%s waits for postgres to be %q, want %s", pod.Name, have, types.ServiceConditionHealthy)
		}
	}
}

func TestOnlyTheProxyPublishesAPort(t *testing.T) {
	p := project(t)
	for name, service := range p.Services {
		if want := name == "proxy"; len(service.Ports) > 0 != want {
			t.Errorf("%s publishes %v", name, service.Ports)
		}
	}
}

func TestTheProxyForwardsToEveryPod(t *testing.T) {
	caddyfile, err := os.ReadFile(root + "/deploy/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`(?m)^\s*reverse_proxy (.+) \{$`).FindSubmatch(caddyfile)
	if match == nil {
		t.Fatal("no reverse_proxy in the Caddyfile")
	}
	var want []string
	for _, pod := range pods(t, project(t)) {
		want = append(want, pod.Name+":8080")
	}
	if have := strings.Fields(string(match[1])); !slices.Equal(have, want) {
		t.Errorf("the proxy forwards to %v, want %v", have, want)
	}
}

func TestEverythingRunsWithoutPrivileges(t *testing.T) {
	p := project(t)
	for name, service := range p.Services {
		if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) ||
			!slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: read_only %v, cap_drop %v, security_opt %v", name, service.ReadOnly, service.CapDrop, service.SecurityOpt)
		}
	}
	for _, pod := range pods(t, p) {
		if pod.User != "" || pod.Privileged || pod.CapAdd != nil {
			t.Errorf("%s: user %q, privileged %v, cap_add %v; want what the image says", pod.Name, pod.User, pod.Privileged, pod.CapAdd)
		}
	}
	dockerfile, err := os.ReadFile(root + "/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, final, _ := strings.Cut(string(dockerfile), "COPY --from=build")
	match := regexp.MustCompile(`(?m)^USER (\d+)`).FindStringSubmatch(final)
	if match == nil {
		t.Fatal("the Dockerfile's final image has no numeric USER")
	}
	if uid, err := strconv.Atoi(match[1]); err != nil || uid == 0 {
		t.Errorf("the image runs as user %s", match[1])
	}
}

func TestSecretsHaveNoDefault(t *testing.T) {
	for name := range required {
		_, err := load(t.Context(), name)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v, want an error that names it", name, err)
		}
	}
}

// fullVersion matches a tag with all the numbers of a release, which never moves to
// another release; a digest may follow.
var fullVersion = map[string]*regexp.Regexp{
	"golang":   regexp.MustCompile(`^\d+\.\d+\.\d+(-[a-z0-9.-]+)?(@sha256:[0-9a-f]{64})?$`),
	"caddy":    regexp.MustCompile(`^\d+\.\d+\.\d+(-[a-z0-9.-]+)?(@sha256:[0-9a-f]{64})?$`),
	"postgres": regexp.MustCompile(`^\d+\.\d+(-[a-z0-9.-]+)?(@sha256:[0-9a-f]{64})?$`),
}

func TestEveryImageIsOfOneVersion(t *testing.T) {
	var images []string
	for _, service := range project(t).Services {
		if service.Build == nil {
			images = append(images, service.Image)
		}
	}
	dockerfile, err := os.ReadFile(root + "/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllSubmatch(dockerfile, -1) {
		if image := string(match[1]); image != "scratch" {
			images = append(images, image)
		}
	}
	if len(images) != 3 {
		t.Errorf("the images are %v", images)
	}
	for _, image := range images {
		name, version, _ := strings.Cut(image, ":")
		if form := fullVersion[name]; form == nil || !form.MatchString(version) {
			t.Errorf("%s is not pinned to a release", image)
		}
	}
}

func TestTheImageIsBuiltWithTheModulesGo(t *testing.T) {
	module, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+\.\d+)$`).FindSubmatch(module)
	dockerfile, err := os.ReadFile(root + "/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if want == nil || !strings.Contains(string(dockerfile), "\nFROM golang:"+string(want[1])+"-") {
		t.Errorf("go.mod has %q, and the Dockerfile another", want)
	}
}
