# Lockbridge. `make` or `make help` lists what there is.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

# The program is built without cgo; so is everything here but the race detector, so that what was compiled is shared.
export CGO_ENABLED := 0

# A bed has room for twelve Lockbridges; four are shared by many tests, and a test may start several of its own.
GO_E2E := go test -json -tags 'goolm e2e' -count=1 -timeout 45m -parallel $$(n=$$(nproc); echo $$((n < 4 ? n : 4)))
# Scenarios about what only Prosody does (ejabberd 23.01 has no XEP-0425), about all servers but the XMPP one, or about great numbers, which take long.
NOT_ON_EJABBERD := TestAKillUnderLoad|TestAMemberWhoseServerHidesHerKeys|TestADeviceIsTakenAway|TestAnAdminSetsLockbridgeUp|TestFiveHundred|TestTenMembers|TestFiftyPuppets|TestTheStockOfPrekeys|TestModeration
LINTER := bin/golangci-lint
# Tests and benchmarks have test beds of their own, so that they never touch the one of a demo that is running.
TEST_BED  := TESTBED_PORT_BASE=$${TESTBED_PORT_BASE:-26000}
FAULT_BED := TESTBED_PORT_BASE=$${TESTBED_PORT_BASE:-28000} PG_FSYNC=on
BENCH_BED := TESTBED_PORT_BASE=$${TESTBED_PORT_BASE:-27000} PG_FSYNC=on
RELAY_BED := TESTBED_PORT_BASE=$${TESTBED_PORT_BASE:-27500} PG_FSYNC=on
POSTGRES  := $$(. testbed/lib.sh && echo "postgres://postgres@$$TESTBED_IP:$$PORT_POSTGRES/postgres?sslmode=disable")

.PHONY: help demo test setup test-unit test-e2e test-desktop test-faults fuzz bench bench-omemo bench-relay bench-media build lint fmt clean

help: ## this list
	@echo 'Lockbridge: make TARGET'; echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo; echo 'A fresh Debian 12 with Go 1.26 is enough: what else is needed is installed by `make demo` and `make test`.'

demo: setup build ## watch XMPP (OMEMO), Matrix and IRC talk to each other; ARGS=--once ends when every message arrived
	@LOCKBRIDGE_BINARY=$(CURDIR)/bin/lockbridge go run -tags goolm ./testbed/demo $(ARGS)

test: setup lint ## everything: vet, lint, unit tests with the race detector, end-to-end tests on SQLite, on Postgres and with ejabberd
	@export $(TEST_BED); trap testbed/down.sh EXIT; testbed/up.sh; \
	$(MAKE) test-unit LOCKBRIDGE_TEST_POSTGRES="$(POSTGRES)"; \
	$(MAKE) test-e2e; \
	XMPP_SERVER=ejabberd LOCKBRIDGE_E2E_STORE=sqlite $(MAKE) test-e2e
	@echo "make test: all of it passed"

setup: # installs what the test bed needs; at once when everything is there
	@testbed/setup.sh

test-unit: bin/testsum ## unit tests with the race detector; LOCKBRIDGE_TEST_POSTGRES=URL adds Postgres
	@echo 'test: unit tests, with the race detector'
	@LOCKBRIDGE_TEST_POSTGRES='$(LOCKBRIDGE_TEST_POSTGRES)' CGO_ENABLED=1 go test -json -race -tags goolm -timeout 30m ./... 2>&1 | bin/testsum unit tests

test-e2e: build bin/testsum ## end-to-end tests against real servers and clients, on SQLite and on Postgres (RUN=PATTERN, XMPP_SERVER=ejabberd)
	@export $(TEST_BED) LOCKBRIDGE_BINARY=$(CURDIR)/bin/lockbridge; testbed/setup.sh; testbed/up.sh; \
	if [ "$${XMPP_SERVER:-}" = ejabberd ]; then \
	  echo "test: what people do, with ejabberd and Lockbridge on $${LOCKBRIDGE_E2E_STORE:-SQLite and on Postgres}"; \
	  $(GO_E2E) -run '$(RUN)' -skip '$(NOT_ON_EJABBERD)' ./testbed/e2e/... 2>&1 | bin/testsum -names ejabberd; exit; \
	fi; \
	echo 'test: each side alone against the real servers'; \
	$(GO_E2E) -run '$(RUN)' ./xmppside/... ./matrixside/... ./ircside/... ./testbed/peers/... 2>&1 | bin/testsum sides; \
	echo 'test: what people do, with Lockbridge on SQLite and on Postgres'; \
	$(GO_E2E) -run '$(RUN)' ./testbed/e2e/... 2>&1 | bin/testsum -names end to end

test-desktop: build bin/testsum ## Gajim on a screen of its own talks through Lockbridge; screenshots in bin/test-output (installs Gajim by apt)
	@export $(TEST_BED) LOCKBRIDGE_BINARY=$(CURDIR)/bin/lockbridge TEST_OUTPUT=$(CURDIR)/bin/test-output; testbed/setup.sh testbed/apt-desktop.txt; rm -f bin/test-output/*.png; \
	trap testbed/down.sh EXIT; testbed/up.sh; \
	go test -json -tags 'goolm desktop' -count=1 -timeout 10m ./testbed/desktop/... 2>&1 | bin/testsum -names desktop; \
	ls $(CURDIR)/bin/test-output/*.png

test-faults: build ## kills, outages, cuts and take-overs under load, counted (FAULT=PATTERN, STORE=sqlite|postgres, MESSAGES=3000, RATE=20, SEED=N); 40 min
	@export $(FAULT_BED) LOCKBRIDGE_BINARY=$(CURDIR)/bin/lockbridge; trap testbed/down.sh EXIT; \
	go test -tags 'goolm faults' -c -o bin/faults.test ./testbed/faults; (cd testbed/faults; $(CURDIR)/bin/faults.test -test.timeout 0 -test.run '$(FAULT)')

fuzz: ## every fuzz target for FUZZTIME (60s) each; fails on a finding (FUZZ=PATTERN)
	@FUZZTIME=$(or $(FUZZTIME),60s) FUZZ='$(FUZZ)' tools/fuzz.sh

bench: setup ## what sealing, opening and accepting cost: in memory, on SQLite and on Postgres with fsync (BENCH=PATTERN)
	@export $(BENCH_BED); trap testbed/down.sh EXIT; testbed/up.sh; \
	mkdir -p bin/bench; export TMPDIR=$(CURDIR)/bin/bench; : 'a disk; /tmp may be memory'; \
	LOCKBRIDGE_TEST_POSTGRES="$(POSTGRES)" go test -tags goolm -run '^$$' -bench '$(or $(BENCH),^Benchmark(Seal|Open|SealDurable|OpenDurable|Accept)$$)' \
	  -benchmem ./omemo ./cmd/lockbridge | { grep -Ev '^(PASS|ok |\?)' || true; }

bench-omemo: ## package omemo beside libsignal-protocol-c, encoding/xml and the plain way to store sessions: ratios (ARGS='-only seal')
	@testbed/setup.sh omemo/bench/apt.txt
	@mkdir -p bin/bench; gcc -O2 -Wall -Wextra -Wno-deprecated-declarations -o bin/bench/signal omemo/bench/signal/signal.c -lsignal-protocol-c -lcrypto
	@go build -tags goolm -o bin/bench/omemo ./omemo/bench
	@export $(BENCH_BED); . testbed/lib.sh; . testbed/daemons/postgres.sh; mkdir -p "$$TESTBED_DIR"/{pids,log}; \
	trap 'halt postgres INT' EXIT; start_postgres; \
	bin/bench/omemo -signal bin/bench/signal -dir bin/bench -postgres "$(POSTGRES)" $(ARGS)

# Matterbridge without the networks that are not measured.
MATTERBRIDGE_TAGS := noapi nodiscord nogitter noharmony nokeybase nomatrix nomattermost nomsteams nomumble nonctalk norocketchat noslack nosshchat nosteam notelegram novk nowhatsapp nozulip

bench-relay: setup build ## Lockbridge beside Matterbridge and beside the servers alone, XMPP and IRC: ratios (ARGS=-quick; about 12 minutes, alone on the machine)
	@mkdir -p bin/bench; cd testbed/relay/matterbridge && go build -tags '$(MATTERBRIDGE_TAGS)' -o $(CURDIR)/bin/bench/matterbridge github.com/42wim/matterbridge
	@go build -tags goolm -o bin/bench/relay ./testbed/relay
	@export $(RELAY_BED); trap 'testbed/relay/servers.sh down' EXIT; testbed/relay/servers.sh up | bin/bench/relay $(ARGS)

bench-media: setup build ## a 50 MB encrypted file from Matrix to XMPP and back: what it costs in memory, which is limited to 30 MB (ARGS='-size 100')
	@mkdir -p bin/bench; go build -tags goolm -o bin/bench/media ./testbed/media
	@export $(BENCH_BED); trap testbed/down.sh EXIT; testbed/up.sh; bin/bench/media $(ARGS)

build: ## one static binary: bin/lockbridge
	@go build -tags goolm -o bin/lockbridge ./cmd/lockbridge

lint: $(LINTER) ## vet, and what .golangci.yml asks for
	@echo 'test: vet and lint'
	@go vet -tags 'goolm e2e desktop faults' ./...
	@$(LINTER) run --allow-serial-runners

$(LINTER): tools/go.mod tools/go.sum
	@echo 'lint: building golangci-lint (about a minute, once)'
	@mkdir -p bin; cd tools && go build -o ../$(LINTER) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

bin/testsum: testbed/testsum/main.go
	@go build -o $@ ./testbed/testsum

fmt: ## gofmt
	@gofmt -w $$(git ls-files '*.go')

clean: ## remove what was built and the test beds' data; what was installed stays
	@for base in 25000 26000 27000 27500; do TESTBED_PORT_BASE=$$base testbed/down.sh --wipe; done
	@rm -rf bin
