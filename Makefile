# Lockbridge. `make` or `make help` lists what there is.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

GO_TEST  := go test -tags goolm
GO_E2E   := go test -tags 'goolm e2e' -count=1 -timeout 20m
LINTER   := bin/golangci-lint
# Tests and benchmarks have test beds of their own, so that they never touch the one of a demo that is running.
TEST_BED  := TESTBED_PORT_BASE=$${TESTBED_PORT_BASE:-26000}
BENCH_BED := TESTBED_PORT_BASE=$${TESTBED_PORT_BASE:-27000} PG_FSYNC=on
POSTGRES  := $$(. testbed/lib.sh && echo "postgres://postgres@$$TESTBED_IP:$$PORT_POSTGRES/postgres?sslmode=disable")
# What of go test's -v output is for people: everything but the names of what passed.
FAILURES := grep -Ev '^(=== |PASS$$)|^ *--- PASS|no test files'

.PHONY: help demo test setup test-unit test-e2e bench build lint fmt clean

help: ## this list
	@echo 'Lockbridge: make TARGET'; echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo; echo 'A fresh Debian 12 with Go 1.26 is enough: what else is needed is installed by `make demo` and `make test`.'

demo: setup build ## watch XMPP (OMEMO), Matrix and IRC talk to each other; ARGS=--once ends when every message arrived
	@LOCKBRIDGE_BINARY=$(CURDIR)/bin/lockbridge go run -tags goolm ./testbed/demo $(ARGS)

test: setup lint ## everything: vet, lint, unit tests with the race detector, end-to-end tests on SQLite and Postgres
	@export $(TEST_BED); trap testbed/down.sh EXIT; testbed/up.sh; \
	$(MAKE) test-unit LOCKBRIDGE_TEST_POSTGRES="$(POSTGRES)"; \
	$(MAKE) test-e2e
	@echo "make test: all of it passed"

setup: # installs what the test bed needs; at once when everything is there
	@testbed/setup.sh

test-unit: ## unit tests with the race detector; LOCKBRIDGE_TEST_POSTGRES=URL adds Postgres
	@mkdir -p bin/log; echo 'test: unit tests, with the race detector'
	@LOCKBRIDGE_TEST_POSTGRES='$(LOCKBRIDGE_TEST_POSTGRES)' $(GO_TEST) -race -v ./... 2>&1 | tee bin/log/unit.log | { $(FAILURES) || true; }

test-e2e: build ## end-to-end tests against real servers and clients, on SQLite and on Postgres; RUN=PATTERN picks some
	@export $(TEST_BED); mkdir -p bin/log; testbed/setup.sh; testbed/up.sh; \
	echo 'test: each side alone against the real servers'; \
	$(GO_E2E) -v ./xmppside/... ./matrixside/... ./ircside/... ./testbed/peers/... 2>&1 | tee bin/log/sides.log | { $(FAILURES) || true; }
	@export $(TEST_BED); for store in sqlite postgres; do \
	  echo "test: what people do, with Lockbridge on $$store"; \
	  LOCKBRIDGE_BINARY=$(CURDIR)/bin/lockbridge LOCKBRIDGE_E2E_STORE=$$store $(GO_E2E) -v -run '$(RUN)' ./testbed/e2e/... 2>&1 | tee bin/log/e2e-$$store.log | { grep -Ev '^(=== |PASS$$)' || true; }; \
	done

bench: setup ## how fast sealing, opening and accepting are: in memory, and durable on SQLite and Postgres (fsync on)
	@export $(BENCH_BED); trap testbed/down.sh EXIT; testbed/up.sh; \
	LOCKBRIDGE_TEST_POSTGRES="$(POSTGRES)" $(GO_TEST) -run '^$$' -bench '$(or $(BENCH),.)' -benchmem ./omemo/... ./gateway/... ./store/... ./xmppside/... | { grep -Ev '^(PASS$$|ok |\?)' || true; }

build: ## one static binary: bin/lockbridge
	@CGO_ENABLED=0 go build -tags goolm -trimpath -o bin/lockbridge ./cmd/lockbridge

lint: $(LINTER) ## vet, and what .golangci.yml asks for
	@echo 'test: vet and lint'
	@go vet -tags 'goolm e2e' ./...
	@$(LINTER) run

$(LINTER): tools/go.mod tools/go.sum
	@echo 'lint: building golangci-lint (about a minute, once)'
	@mkdir -p bin; cd tools && CGO_ENABLED=0 go build -o ../$(LINTER) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

fmt: ## gofmt
	@gofmt -w $$(git ls-files '*.go')

clean: ## remove what was built and the test beds' data; what was installed stays
	@for base in 25000 26000 27000; do TESTBED_PORT_BASE=$$base testbed/down.sh --wipe; done
	@rm -rf bin
