# Sluice: the index of what can be done here. `make` alone prints it.
# Every target is one or two plain commands that also work without make.

GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PLUGINS     := validate filter
FUZZTIME    ?= 10s

.PHONY: help build run test check bench plugins vet race fuzz reproducible clean
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: plugins ## build bin/sluice with the first-party modules inside
	@echo "build   bin/sluice"
	@$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/sluice ./cmd/sluice

run: build ## build, then start the demo: a broker, the gateway, a validation pipeline
	@bin/sluice demo

test: plugins ## run all tests that need nothing but Go
	$(GO) test ./...

check: vet race fuzz reproducible ## everything else that must hold: vet, staticcheck, race detector, fuzz smoke, reproducible modules

bench: build ## measure against direct connections, a bare forwarder and native code; writes internal/bench/RESULTS.md
	$(GO) run ./internal/bench

plugins: ## compile the first-party middlewares to WebAssembly
	@for p in $(PLUGINS); do \
		echo "plugin  $$p"; \
		$(GO) run ./cmd/sluice plugin build -o catalog/builtin/$$p.wasm ./plugins/$$p || exit 1; \
	done

vet: ## gofmt, go vet and staticcheck
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "run gofmt -w on the files above"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

race: plugins ## tests under the race detector, without what compiles modules for minutes and shares nothing
	$(GO) test -race -short $$($(GO) list ./... | grep -v -e /host/meter$$ -e /cmd/sluice$$)

fuzz: ## each fuzz target for FUZZTIME (10s)
	@$(GO) run ./internal/repotest/fuzzall -fuzztime $(FUZZTIME)

reproducible: ## build the modules twice, from different folders, and compare
	$(GO) test -count=1 -run TestReproducible ./internal/pluginbuild -reproducible

clean: ## remove what the build wrote
	rm -rf bin catalog/builtin/*.wasm
