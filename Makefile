# pfsync for Linux.  Every target runs from a clean checkout.

# Found once, and before setup.sh may have to install it.
ifndef GO
GO         := $(shell sh scripts/go.sh)
endif
PREFIX      ?= /usr/local
DESTDIR     ?=
FUZZTIME    ?= 1m
SEEDS       ?= 10000
FROM        ?= 0
GOTEST_FLAGS ?=
# A package that takes so long hangs, and its stacks show where.
GOTEST_TIMEOUT ?= 9m
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2

# An older Go fetches the toolchain go.mod asks for, whatever its own setting.
export GO
export GOTOOLCHAIN := auto

BUILD   = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false
SETUP   = sh scripts/setup.sh
MAN     = $(wildcard man/*.[1-9])
# Shell scripts are known by their first line: some have no suffix.
SCRIPTS = $(shell grep -lE '^\#! ?/(usr/)?s?bin/(env )?(ba)?sh' .ci/run $$(find scripts -type f))

.PHONY: all help install uninstall test race lint fuzz integration bench cover man ci clean \
	demo compare scale picture simulate faults test-vm check-format check-vet check-scripts go-test race-quick fuzz-quick check-boot

all: ## build bin/pfsyncd and bin/pfsyncctl
	@$(SETUP) build
	$(BUILD) -o bin/ ./cmd/pfsyncd ./cmd/pfsyncctl

# What each target does, from the comments behind them.
help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

install: all ## PREFIX= DESTDIR= INIT=systemd|sysv|openrc|none
	sh scripts/install.sh install '$(DESTDIR)' '$(PREFIX)'

uninstall: ## remove what install put there
	sh scripts/install.sh uninstall '$(DESTDIR)' '$(PREFIX)'

## Checks

test: ## all checks and tests, in minutes
	@$(SETUP) test
	$(MAKE) --no-print-directory check-format check-vet check-scripts man all go-test race-quick fuzz-quick check-boot

check-format:
	@bad=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .); \
	[ -z "$$bad" ] || { echo "gofmt: $$bad"; exit 1; }

check-vet:
	$(GO) vet ./...

check-scripts:
	shellcheck -x $(SCRIPTS)

go-test:
	$(GO) test -count=1 -timeout $(GOTEST_TIMEOUT) $(GOTEST_FLAGS) ./...

# Init scripts, the unit and the keepalived example against the real programs.
check-boot:
	@[ "$$(id -u)" = 0 ] || [ -n "$$PFSYNC_REQUIRE_NETNS" ] || { echo "check-boot: skipped, needs root"; exit 0; }; \
	bash scripts/test-boot.sh && bash scripts/test-systemd.sh && scripts/keepalived/check.sh

# The packages without a kernel in them, which is where races are cheapest to
# find; `make race` runs them all.  The engine has one goroutine: few seeds do.
race-quick:
	SEEDS=5 CGO_ENABLED=1 $(GO) test -race -short -count=1 -timeout $(GOTEST_TIMEOUT) $$(sh scripts/packages.sh pure)

race: ## all tests under the race detector
	@$(SETUP) test
	SEEDS=20 CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 1h ./...

lint: ## gofmt, vet, shellcheck, man pages, staticcheck
	@$(SETUP) test
	$(MAKE) --no-print-directory check-format check-vet check-scripts man
	$(GO) run $(STATICCHECK) ./...

# A count instead of a time: a busy machine then runs longer, not less.
fuzz-quick:
	sh scripts/fuzz.sh 5000x

fuzz: ## every fuzz target for FUZZTIME=
	@$(SETUP) build
	sh scripts/fuzz.sh $(FUZZTIME)

integration: ## the tests that need network namespaces, none skipped
	@$(SETUP) test
	PFSYNC_REQUIRE_NETNS=1 $(GO) test -count=1 $(GOTEST_FLAGS) $$(sh scripts/packages.sh kernel)

bench: ## benchmarks
	@$(SETUP) build
	$(GO) test -run '^$$' -bench . -benchmem ./...

cover: ## test coverage, bin/cover.out
	@$(SETUP) test
	mkdir -p bin
	$(GO) test -count=1 -coverpkg=./... -coverprofile=bin/cover.out ./...
	$(GO) tool cover -func=bin/cover.out | tail -n 1

man: ## check the manual pages
	@$(SETUP) man
	mandoc -Tlint -Wwarning $(MAN)

ci: lint ## what continuous integration runs
	bash .ci/run

simulate: ## firewalls on a bad link, SEEDS= of them, FROM= the first
	@$(SETUP) build
	SEEDS=$(SEEDS) FROM=$(FROM) $(GO) test -count=1 -v -timeout 2h -run TestSimulation ./syncproto/engine/...

faults: ## daemons, machines and links that fail under RATE= connections a second
	@$(SETUP) test
	PFSYNC_REQUIRE_NETNS=1 PFSYNC_FAULT_RATE=$(or $(RATE),5000) PFSYNC_FAULT_SECONDS=5 \
		$(GO) test -count=1 -v -timeout 30m -parallel 1 -run 'TestFaults$$|TestJoin$$' ./cmd/internal/daemon

.PHONY: bin/traffic
bin/traffic:
	$(BUILD) -o bin/ ./scripts/traffic

demo: ## a failover to watch, in under a minute
	@bash scripts/demo.sh --check
	@$(SETUP) demo
	@$(MAKE) --no-print-directory -s all bin/traffic
	@bash scripts/demo.sh

compare: ## side by side with conntrackd: CPU, bytes, memory
	@$(SETUP) compare
	@$(MAKE) --no-print-directory -s all bin/traffic
	@bash scripts/bench.sh

scale: ## a million states: time, memory, CPU
	@$(SETUP) compare
	@$(MAKE) --no-print-directory -s all bin/traffic
	@bash scripts/scale.sh

picture: ## scripts/picture.svg, the picture in README.md
	@$(MAKE) --no-print-directory -s all bin/traffic
	@bash scripts/picture.sh

test-vm: ## kernel tests on Debian's stock kernel, under qemu: PACKAGES=, RUN=
	@$(SETUP) vm
	bash scripts/vm-test.sh $(PACKAGES)

clean: ## remove bin
	rm -rf bin
