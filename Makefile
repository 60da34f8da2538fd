# peerhub: `make help` lists the targets.
SHELL   := /bin/bash
GO      ?= go
PREFIX  ?= /usr
DESTDIR ?=
BIN     ?= bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

# What the demo, the tests and the benchmarks need beside Go, as Debian packages, and how to
# tell that it is there: a program, or a file.
PACKAGES := openvpn nftables iproute2 iptables iputils-ping conntrack tcpdump iperf3 curl socat \
            netcat-openbsd procps awscli gcc libc6-dev git ca-certificates systemd jq util-linux mawk
TOOLS    := openvpn nft ip ss tc iptables iptables-restore ping conntrack tcpdump iperf3 curl socat \
            nc.openbsd ps pgrep sysctl /usr/bin/aws gcc /usr/include/stdlib.h git systemd-analyze jq \
            unshare nsenter setpriv awk

# A shell that a person became root in may lack the folders of nft and ip.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

.PHONY: help build demo demo-down test faults lint check bench install clean deps docs properties planted fuzz soak

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## hubd, hubctl and hublab in bin/
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/hubd ./cmd/hubctl ./cmd/hublab

deps: ## install the Debian packages that demo, test and bench need (as root)
	@lacks() { for t in $(TOOLS); do case $$t in /*) test -e $$t;; *) command -v $$t >/dev/null;; esac || echo -n " $$t"; done; }; \
	missing=$$(lacks); [ -n "$$missing" ] || exit 0; \
	echo "installing what is missing:$$missing"; \
	if [ "$$(id -u)" != 0 ]; then echo "not root: run 'make deps' as root, it needs apt-get install" >&2; exit 1; fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq && apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null || exit 1; \
	missing=$$(lacks); [ -z "$$missing" ] || { echo "still missing:$$missing (of the packages $(PACKAGES))" >&2; exit 1; }

demo: deps build ## the story of README with proof, on this machine alone (root); KEEP=1 leaves the lab up
	@$(GO) run ./test/e2e/demo $(if $(KEEP),-keep)

demo-down: ## remove what a kept or killed demo left
	@if [ -x bin/hublab ]; then bin/hublab down; else $(GO) run ./cmd/hublab down; fi

test: deps ## every test, with the race detector (root)
	@$(GO) run ./test/run

faults: deps ## the whole fault suite (root, about an hour); writes faults.json and docs/faults.md
	@$(GO) run ./test/faults -docs docs/faults.md

properties: ## 200,000 passes of the property tests of the core
	$(GO) test -count=1 -timeout 20m ./hub -run 'TestLivesOfCompanies' -passes 200000 -v

planted: ## three planted bugs, each of which the property tests must find within a minute
	$(GO) test -count=1 ./test/planted -all -v

soak: deps ## random faults against a model for MINUTES=10 (root); SEED=n repeats a run
	$(GO) test -count=1 -timeout 48h ./test/soak -run TestSoak -minutes $(or $(MINUTES),10) $(if $(SEED),-seed $(SEED)) -v

fuzz: ## every fuzz target for MINUTES=1, one after the other
	@set -e; for d in $$(grep -rl '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
	for f in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$d/*_test.go | cut -c6-); do \
	echo "== $$d $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(or $(MINUTES),1)m -fuzzminimizetime 20x $$d; done; done

lint: ## gofmt, go vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt differs: $$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

check: lint ## lint, and the rules about the tree itself
	$(GO) mod verify
	$(GO) test -count=1 ./test/tree

bench: deps build ## the bars, as ratios in one run; writes bench.json; SABOTAGE=1 must miss them all
	@$(GO) run ./test/bench $(if $(SABOTAGE),-sabotage)

docs: ## references that are generated from code
	$(GO) run ./test/tree/docs

LIB := $(DESTDIR)$(PREFIX)/lib
DOC := $(DESTDIR)$(PREFIX)/share/doc/hubd

install: build ## into $(DESTDIR): programs, units, sysctl file, reference config, documents
	install -D -m 0755 $(BIN)/hubd   $(DESTDIR)$(PREFIX)/sbin/hubd
	install -D -m 0755 $(BIN)/hubctl $(DESTDIR)$(PREFIX)/bin/hubctl
	install -d $(LIB)/systemd/system
	for u in hubd hubd-fail-closed; do sed 's#/usr/sbin/#$(PREFIX)/sbin/#' deploy/systemd/$$u.service > $(LIB)/systemd/system/$$u.service; done
	chmod 0644 $(LIB)/systemd/system/hubd.service $(LIB)/systemd/system/hubd-fail-closed.service
	for t in openvpn-server@ openvpn@; do install -D -m 0644 deploy/systemd/openvpn-server@.service.d/10-hubd.conf "$(LIB)/systemd/system/$$t.service.d/10-hubd.conf"; done
	install -D -m 0644 deploy/sysctl.d/90-hubd.conf $(LIB)/sysctl.d/90-hubd.conf
	install -D -m 0644 deploy/sysusers.d/hubd.conf  $(LIB)/sysusers.d/hubd.conf
	install -D -m 0644 deploy/tmpfiles.d/hubd.conf  $(LIB)/tmpfiles.d/hubd.conf
	install -D -m 0644 deploy/networkd/90-hubd.conf $(LIB)/systemd/networkd.conf.d/90-hubd.conf
	install -d $(DOC)/iam
	install -m 0644 deploy/hubd.yaml README.md CHANGELOG.md LICENSE docs/*.md $(DOC)/
	install -m 0644 deploy/iam/*.json $(DOC)/iam/
	install -d -m 0750 $(DESTDIR)/etc/hubd $(DESTDIR)/etc/hubd/accounts.d

clean: ## remove what build, demo and bench made
	rm -rf bin bench.json demo.json faults.json
