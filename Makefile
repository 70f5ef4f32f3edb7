# What people type; Meson and Ninja do the work. Options:
#   SANITIZE=address,undefined | thread    a build with sanitizers, in a directory of its own
#   BUILD=DIR                              another build directory
#   MESON_OPTIONS='…'                      more for `meson setup`, e.g. --prefix=/usr; a build that is there is configured again
#   V=1                                    show commands
.DEFAULT_GOAL := all
SHELL := /bin/bash
comma := ,

ifeq ($(SANITIZE),)
BUILD ?= build
else ifneq ($(findstring address,$(SANITIZE)),)
BUILD ?= build-asan
else ifeq ($(SANITIZE),thread)
BUILD ?= build-tsan
else
BUILD ?= build-$(subst $(comma),-,$(SANITIZE))
endif

SANITIZER_OPTIONS := $(if $(SANITIZE),-Db_sanitize=$(SANITIZE))
NINJA := ninja -C $(BUILD) $(if $(V),-v,--quiet)

.PHONY: all build-for-bench demo evaluate evaluate-quick test test-asan test-tsan coverage fuzz bench bench-servers profile-servers install uninstall format check-format clean help

all:
	@scripts/setup build
	@scripts/configure $(BUILD) $(SANITIZER_OPTIONS) $(MESON_OPTIONS)
	@$(NINJA)

demo:
	@scripts/setup demo
	@$(MAKE) --no-print-directory all
	@LAB_BUILD=$(BUILD) lab/demo

# OPTIONS='…' for lab/evaluate, e.g. OPTIONS='--tls 1.3 --key ecdsa --output report-1.3'
evaluate:
	@scripts/setup evaluate
	@$(MAKE) --no-print-directory all
	@LAB_BUILD=$(BUILD) lab/evaluate $(OPTIONS)

evaluate-quick:
	@$(MAKE) --no-print-directory evaluate OPTIONS='--quick $(OPTIONS)'

test:
	@scripts/setup test
	@scripts/test

test-asan:
	@scripts/setup test
	@scripts/test asan

test-tsan:
	@scripts/setup test
	@scripts/test tsan

coverage:
	@scripts/setup coverage
	@scripts/test coverage

fuzz:
	@scripts/setup test
	@scripts/fuzz

build-for-bench:
	@scripts/setup bench
	@scripts/configure build-bench -Dbuildtype=release
	@ninja -C build-bench --quiet

bench: build-for-bench
	@meson test -C build-bench --benchmark --no-rebuild --verbose

# OPTIONS='…' for tests/bench/bench-servers, e.g. OPTIONS='--servers haproxy'
bench-servers: build-for-bench
	@tests/bench/bench-servers $(OPTIONS)

# OPTIONS='…' for tests/bench/profile-servers
profile-servers: build-for-bench
	@tests/bench/profile-servers $(OPTIONS)

install:
	@scripts/setup build
	@scripts/install $(BUILD) $(SANITIZER_OPTIONS) $(MESON_OPTIONS)

uninstall:
	@scripts/uninstall $(BUILD)

format:
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i

check-format:
	@git ls-files '*.c' '*.h' | xargs clang-format-14 --dry-run -Werror

clean:
	@rm -rf build build-asan build-tsan build-coverage build-fuzz build-bench $(BUILD)

help:
	@echo 'make            build (into $(BUILD)/)'
	@echo 'make demo       two Apache servers in namespaces, 500 clients, one switchover (needs root)'
	@echo 'make evaluate   the experiment of docs/evaluation.md: a report in report/, 50 minutes (needs root)'
	@echo 'make evaluate-quick  the same with all times divided by 6: report-quick/, 5 minutes'
	@echo 'make test       all tests: also under ASan, UBSan and TSan; lab tests need root'
	@echo 'make test-asan, make test-tsan, make coverage, make fuzz'
	@echo 'make bench      the benchmarks of docs/performance.md'
	@echo 'make bench-servers  CPU of Apache, nginx and HAProxy a request, with tlsbaton and without: 12 minutes (needs root)'
	@echo 'make profile-servers  what part of that CPU their sessions are: 12 minutes (needs root)'
	@echo 'make install    DESTDIR and MESON_OPTIONS=--prefix=… work'
	@echo 'make uninstall  remove what was installed from $(BUILD)/; configuration stays'
	@echo 'make clean      remove the build directories'
