# `make` alone lists what there is.
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## a throwaway PostgreSQL, three pods, and a live view; Ctrl-C ends it all
	@go build -o bin/dev ./cmd/dev && exec bin/dev

# -count=1, because the test cache does not notice a change in what a test starts with `go run`.
test: ## every test, on real PostgreSQL; names the tools whose tests it skips because they are missing
	@for tool in pgbouncer promtool nginx haproxy caddy nghttpx; do \
		PATH="$$PATH:/usr/sbin:/usr/local/sbin" command -v $$tool >/dev/null || echo "skipped: the tests that need $$tool, which is not installed"; \
	done
	go test -shuffle=on ./...
	cd test/compose && go test -count=1 ./...

test-postgres: ## the tests on PostgreSQL 14 to 18, or on MAJORS="14 18"; downloads what is not installed
	test/postgres-versions/run.sh $(MAJORS)

soak: ## random faults, checked against a model (test/oracle/doc.go), for DURATION=1m; SEED=N repeats the schedule of a failed round
	@mkdir -p test/artifacts
	go test -race -count=1 -v -timeout=0 -artifacts -outputdir=test/artifacts -run=TestEveryState ./test/oracle \
		-for=$(or $(DURATION),1m) -seed=$(or $(SEED),0)

check: ## formatting, vet, staticcheck, tidiness, and every test with the race detector
	@test -z "$$(go tool gofumpt -l .)" || { go tool gofumpt -d . ; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	@test -z "$$(go fix -diff ./... 2>&1)" || { go fix -diff ./... ; exit 1; }
	go mod tidy -diff
	cd test/compose && go mod tidy -diff && go vet ./...
	cd test/bench && go mod tidy -diff && go vet ./... && go test -count=1 ./...
	go test -race -shuffle=on ./...

bench: ## measure speed, next to what one would use instead; up to ten minutes; test/bench/last.json, docs/growth.md
	cd test/bench && go build -o ../../bin/bench . && ../../bin/bench -json last.json
	cd test/bench && ../../bin/bench -grow ../../docs/growth.md

bench-quick: ## a shorter bench, one minute
	cd test/bench && go build -o ../../bin/bench . && ../../bin/bench -quick -json ../../bin/bench-quick.json

bench-check: ## the figures that must not get worse, as ratios and counts; half a minute
	cd test/bench && go build -o ../../bin/bench . && ../../bin/bench -only check

schema: ## write db/schema.sql from the migrated database at DATABASE_URL
	db/dump-schema.sh

build: ## build bin/api
	CGO_ENABLED=0 go build -trimpath -o bin/api ./cmd/api

pin: ## add the current digest of each image to its tag in Dockerfile and docker-compose.yml
	deploy/pin-images.sh

.PHONY: help run test test-postgres soak check bench bench-quick bench-check schema build pin
