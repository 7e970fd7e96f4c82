package compose

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pinned is a copy of the files that name images and of the script that pins them,
// with a fake docker that answers from a table.
type pinned struct {
	t   *testing.T
	dir string
}

var pinnedFiles = []string{"Dockerfile", "docker-compose.yml", "deploy/pin-images.sh"}

func copied(t *testing.T) pinned {
	t.Helper()
	dir := t.TempDir()
	for _, name := range pinnedFiles {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		// Start with images that are not pinned.
		content = regexp.MustCompile(`@sha256:[0-9a-f]{64}`).ReplaceAll(content, nil)
		write(t, filepath.Join(dir, name), string(content))
	}
	return pinned{t, dir}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// pin runs the script with this shell script as docker.
func (p pinned) pin(docker string) (string, error) {
	write(p.t, filepath.Join(p.dir, "bin/docker"), "#!/bin/sh\n"+docker)
	script := exec.CommandContext(p.t.Context(), filepath.Join(p.dir, "deploy/pin-images.sh"))
	script.Env = append(os.Environ(), "PATH="+filepath.Join(p.dir, "bin")+":"+os.Getenv("PATH"))
	out, err := script.CombinedOutput()
	return string(out), err
}

func (p pinned) files() (all string) {
	p.t.Helper()
	for _, name := range pinnedFiles[:2] {
		content, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			p.t.Fatal(err)
		}
		all += string(content)
	}
	return all
}

func TestPinAddsEachImagesDigestAndBringsItUpToDate(t *testing.T) {
	p := copied(t)
	before := p.files()
	answer := func(digit string) (docker, digest string) {
		digest = "sha256:" + strings.Repeat(digit, 64)
		return fmt.Sprintf(`[ "$*" = "buildx imagetools inspect --format {{.Manifest.Digest}} $6" ] && echo %s`, digest), digest
	}
	for _, digit := range []string{"1", "1", "2"} {
		docker, digest := answer(digit)
		if out, err := p.pin(docker); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		after := p.files()
		if strings.Count(after, "@"+digest) != 3 || strings.ReplaceAll(after, "@"+digest, "") != before {
			t.Errorf("pinned to %s:\n%s", digest, after)
		}
	}
	if !strings.Contains(p.files(), "AS build\n") || !strings.Contains(p.files(), "\nFROM scratch\n") {
		t.Errorf("the names of the stages are lost:\n%s", p.files())
	}
}

func TestPinChangesNothingIfARegistryDoesNotAnswer(t *testing.T) {
	for name, docker := range map[string]string{
		"no registry":       "echo ERROR: dial tcp: no such host >&2; exit 1",
		"no digest":         "echo who knows",
		"nothing":           "exit 0",
		"one that is away":  `case "$*" in *postgres*) echo ERROR: dial tcp: no such host >&2; exit 1;; esac; echo sha256:` + strings.Repeat("3", 64),
		"no buildx in here": "echo 'docker: unknown command: docker buildx' >&2; echo >&2; echo more >&2; exit 1",
	} {
		p := copied(t)
		before := p.files()
		out, err := p.pin(docker)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if last := lines[len(lines)-1]; err == nil || !strings.HasPrefix(last, "pin-images: no digest for ") || !strings.HasSuffix(last, "; nothing was changed") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if p.files() != before {
			t.Errorf("%s: the files were changed", name)
		}
	}
}
