# Every target works from a fresh clone: what is missing is installed first and kept, so that the next run finds it.
# The network is used for Debian's packages and the Go module proxy, nothing else.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GOLANGCI_VERSION := v2.15.0
FUZZTIME         ?= 30s
BENCH            ?=
LAB_TIMEOUT      ?= 45m

VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STARTED := $(shell date +%s)

# Tools live beside Go's build cache, by version of the tool and of Go, so that every clone on a machine shares them.
TOOLS    = $(shell dirname "$$(go env GOCACHE)")/zferry/tools
GOLANGCI = $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)-$(shell go env GOVERSION)/golangci-lint

# A heading with the time since make was started.
heading = printf '\n==> %s  (%d:%02d)\n' "$(1)" $$(( ($$(date +%s) - $(STARTED)) / 60 )) $$(( ($$(date +%s) - $(STARTED)) % 60 ))

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: deps
deps: ## install what is missing: compiler, OpenSSH, QEMU
	@.ci/deps

.PHONY: tools
tools: ## build the pinned golangci-lint, once per machine
	@if [ ! -x "$(GOLANGCI)" ]; then \
		echo "building golangci-lint $(GOLANGCI_VERSION), once: takes some minutes"; \
		GOBIN="$(dir $(GOLANGCI))" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION); \
	fi

.PHONY: build
build: ## bin/zferry, one static binary
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/...

.PHONY: manifest
manifest: ## manifest.json, from the methods of the plugin
	@go run ./cmd/zferry-plugin manifest > manifest.json.new
	@mv manifest.json.new manifest.json

.PHONY: api-doc
api-doc: ## docs/openrpc.json, from the methods of host and plugin
	@go run ./testing/apidoc/cmd/apidoc > docs/openrpc.json.new
	@mv docs/openrpc.json.new docs/openrpc.json

.PHONY: deb
deb: build ## build/zferry_VERSION_ARCH.deb, with both programs and a systemd unit
	@packaging/deb.sh '$(VERSION)'

.PHONY: fmt
fmt: tools ## format every Go file
	@$(GOLANGCI) fmt

.PHONY: lint
lint: tools ## formatting, go.mod, vet, golangci-lint
	@$(GOLANGCI) fmt --diff
	@go mod tidy -diff
	@go vet -tags lab ./...
	@$(GOLANGCI) run --allow-parallel-runners

.PHONY: check
check: ## what to run before a commit: lint and the tests that start no programs of ours
	@$(call heading,lint)
	@$(MAKE) --no-print-directory lint
	@$(call heading,tests)
	@go test $$(go list ./... | grep -vE '/(cmd/zferry|testing/pyhost)$$')

.PHONY: test
test: ## everything: lint, tests with the race detector, then the lab's machines
	@$(call heading,dependencies)
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory tools
	@$(call heading,build)
	@$(MAKE) --no-print-directory build
	@$(call heading,lint)
	@$(MAKE) --no-print-directory lint
	@$(call heading,tests with the race detector)
	@go test -race -shuffle=on -timeout 20m ./...
	@$(call heading,200 kills of host and plugin)
	@go test -count=1 -run '^TestKill' ./cmd/zferry
	@$(call heading,lab: two machines with OpenZFS)
	@go test -tags lab -p 1 -count=1 -v -run Lab -timeout $(LAB_TIMEOUT) ./testing/lab ./cmd/zferry
	@$(call heading,done)

.PHONY: bench
bench: deps ## measure; BENCH=lab picks a group
	@BENCH='$(BENCH)' go run ./testing/bench/cmd/bench

.PHONY: fuzz
fuzz: ## every fuzz test, FUZZTIME each
	@grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's|^(.*)/[^/]+:[0-9]+:func (.*)$$|\1 \2|' | sort -u | \
	while read -r dir name; do \
		$(call heading,$$name in $$dir); \
		go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir"; \
	done

.PHONY: demo
demo: deps build ## a tree of datasets goes from one machine to another, is changed, cut and resumed
	@bin/zferry demo

.PHONY: lab-up
lab-up: deps build ## start the two machines and leave them running
	@bin/zferry lab up

.PHONY: lab-down
lab-down: build ## stop them
	@bin/zferry lab down

.PHONY: clean
clean: ## remove what make built in this folder
	@rm -rf bin build
