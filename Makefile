# pfsync for Linux.  Every target runs from a clean checkout.

GO          ?= $(shell command -v go 2>/dev/null || echo /usr/local/go/bin/go)
PREFIX      ?= /usr/local
DESTDIR     ?=
FUZZTIME    ?= 1m
SEEDS       ?= 2000
GOTEST_FLAGS ?=
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2

# An older Go fetches the toolchain go.mod asks for, whatever its own setting.
export GO
export GOTOOLCHAIN := auto

BUILD   = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false
SETUP   = sh scripts/setup.sh
MAN     = $(wildcard man/*.[1-9])
# Shell scripts are known by their first line: some have no suffix.
SCRIPTS = $(shell grep -lE '^\#! ?/(usr/)?s?bin/(env )?(ba)?sh' .ci/run $$(find scripts -type f))

.PHONY: all install uninstall test race lint fuzz integration bench cover man ci clean \
	demo simulate test-vm check-format check-vet check-scripts go-test race-quick fuzz-quick

all:
	@$(SETUP) build
	$(BUILD) -o bin/ ./cmd/pfsyncd ./cmd/pfsyncctl

install: all
	sh scripts/install.sh install '$(DESTDIR)' '$(PREFIX)'

uninstall:
	sh scripts/install.sh uninstall '$(DESTDIR)' '$(PREFIX)'

## Checks

test:
	@$(SETUP) test
	$(MAKE) --no-print-directory check-format check-vet check-scripts man all go-test race-quick fuzz-quick

check-format:
	@bad=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .); \
	[ -z "$$bad" ] || { echo "gofmt: $$bad"; exit 1; }

check-vet:
	$(GO) vet ./...

check-scripts:
	shellcheck -x $(SCRIPTS)

go-test:
	$(GO) test -count=1 $(GOTEST_FLAGS) ./...

# The packages without a kernel in them, which is where the races would be
# cheapest to find; `make race` runs them all.
race-quick:
	CGO_ENABLED=1 $(GO) test -race -short -count=1 $$(sh scripts/packages.sh pure)

race:
	@$(SETUP) test
	CGO_ENABLED=1 $(GO) test -race -count=1 ./...

lint:
	@$(SETUP) test
	$(MAKE) --no-print-directory check-format check-vet check-scripts man
	$(GO) run $(STATICCHECK) ./...

# A count instead of a time: a busy machine then runs longer, not less.
fuzz-quick:
	sh scripts/fuzz.sh 5000x

fuzz:
	@$(SETUP) build
	sh scripts/fuzz.sh $(FUZZTIME)

integration:
	@$(SETUP) test
	PFSYNC_REQUIRE_NETNS=1 $(GO) test -count=1 $(GOTEST_FLAGS) $$(sh scripts/packages.sh kernel)

bench:
	@$(SETUP) build
	$(GO) test -run '^$$' -bench . -benchmem ./...

cover:
	@$(SETUP) test
	mkdir -p bin
	$(GO) test -count=1 -coverpkg=./... -coverprofile=bin/cover.out ./...
	$(GO) tool cover -func=bin/cover.out | tail -n 1

man:
	@$(SETUP) man
	mandoc -Tlint -Wwarning $(MAN)

ci: lint
	bash .ci/run

simulate:
	@$(SETUP) build
	SEEDS=$(SEEDS) $(GO) test -count=1 -v -run TestSimulation ./syncproto/engine/...

.PHONY: bin/traffic
bin/traffic:
	$(BUILD) -o bin/ ./scripts/traffic

demo:
	@bash scripts/demo.sh --check
	@$(SETUP) demo
	@$(MAKE) --no-print-directory -s all bin/traffic
	@bash scripts/demo.sh

test-vm:
	@$(SETUP) vm
	bash scripts/vm-test.sh

clean:
	rm -rf bin
