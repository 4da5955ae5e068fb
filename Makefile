# Roamkey: make demo shows a handover, make test tests everything; make help lists the rest.
# Needs Go 1.25 or newer and make; each target installs what else it needs where it may (Debian's packages).

GO ?= go
export CGO_ENABLED = 0
# The same for all that go builds, so that tests and programs share what is compiled. Of git it has nothing to ask: there may be
# none, or one that refuses a tree of somebody else's.
export GOFLAGS += -trimpath -buildvcs=false
VERSION := $(shell cat VERSION)
LDFLAGS = -s -w -X main.version=$(VERSION)
BUILD = $(GO) build -ldflags '$(LDFLAGS)'
PROGRAMS = bin/roamkeyd bin/roamkey-mn bin/demo
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0

.PHONY: all help demo test check unit mips capture lab bench size fuzz clean go
.DEFAULT_GOAL := all
# Go uses all CPUs by itself, and what measures wants them alone.
.NOTPARALLEL:

all: $(PROGRAMS)

help:
	@sed -n 's/^## //p' Makefile

go:
	@v=$$($(GO) env GOVERSION 2>/dev/null | sed 's/.*go1\.\([0-9]*\).*/\1/'); \
	[ "$${v:-0}" -ge 25 ] 2>/dev/null || { echo "Roamkey needs Go 1.25 or newer on PATH (go version says: $$($(GO) version 2>&1 | head -n 1))" >&2; exit 1; }

bin/roamkeyd bin/roamkey-mn: bin/%: go FORCE
	@$(BUILD) -o $@ ./firmware/$*
bin/demo: go FORCE
	@$(BUILD) -o $@ ./build/demo
FORCE:

## make demo   a handover on real kernels, in four ways: timelines, out/demo.svg, out/messages.svg, out/demo.pcap
demo: $(PROGRAMS)
	@bin/demo

## make test   everything: checks, unit tests, MIPS, the demo and its capture, cross-builds, sizes, virtual machines
test: check unit mips capture size lab
	@echo "make test: all passed"

## make check  gofmt, go vet, staticcheck
check: go
	@unformatted=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .) || exit 1; [ -z "$$unformatted" ] || { echo "gofmt -w these:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod verify

## make unit   the Go tests, with network namespaces of their own
unit: go
	@build/need.sh tshark:tshark nftables:nft cpio:cpio openssl:openssl
	$(GO) test -p 1 ./...

## make capture  the demo, and what tshark says of its capture
capture: demo
	@build/need.sh tshark:tshark
	@$(GO) run ./build/capture out/demo.pcap

## make bench  key exchanges, signed answers, (fast) binding updates and memory of the real daemon, against their limits
bench: $(PROGRAMS)
	@$(GO) build -o bin/bench ./build/bench
	@bin/bench

## make mips   codec and core tests on a big-endian CPU
mips: go
	@build/need.sh qemu-user-static:qemu-mips-static
	GOARCH=mips GOMIPS=softfloat $(GO) test -exec qemu-mips-static ./ipv6/... ./ndp/... ./mipsec/...

## make lab    a virtual machine with Debian's kernel: its own IPv6 tunnels, and a daemon killed in mid-flow
lab: $(PROGRAMS)
	@build/need.sh qemu-system-x86:qemu-system-x86_64 kmod:depmod cpio:cpio
	@$(GO) run ./build/lab -go $(GO)

## make size   roamkeyd for every kind of router, and what it takes of their flash
size: go
	@build/need.sh xz-utils:xz
	@$(GO) run ./build/size -go $(GO) -ldflags '$(LDFLAGS)'

## make fuzz   every fuzz target for FUZZTIME (default 30s)
FUZZTIME ?= 30s
fuzz: go
	@build/fuzz.sh $(FUZZTIME)

clean:
	rm -rf bin out build/cache
