# SPDX-License-Identifier: Apache-2.0
# A short way to what meson and scripts/ do. `make help` lists the targets.

PREFIX ?= /usr/local
LIBDIR ?= lib
DESTDIR ?=

export DESTDIR

.DEFAULT_GOAL := build
.PHONY: build demo test install clean unit cli python asan pyasan tsan valgrind fuzz lint tidy \
	coverage bench format help

build: build/build.ninja ## release build: build/hallmark
	@ninja -C build

build/build.ninja:
	@meson setup build --buildtype=release --prefix='$(PREFIX)' --libdir='$(LIBDIR)' \
		-Dtests=disabled

demo: ## key, model, signature, verification, one changed byte, refusal
	@scripts/setup.sh build
	@$(MAKE) --no-print-directory build
	@scripts/demo.sh

test: ## every test there is; installs what is missing
	@scripts/setup.sh test
	@scripts/test.sh

install: build ## into PREFIX (/usr/local), libraries into PREFIX/LIBDIR (lib), below DESTDIR
	@meson configure build -Dprefix='$(PREFIX)' -Dlibdir='$(LIBDIR)'
	@meson install -C build

clean: ## removes build/ and build-*/
	rm -rf build build-*/

unit: ## unit tests
cli: ## tests of the program, by pytest
python: ## tests of the Python package, from a wheel that is built for it
asan: ## unit tests, fuzz corpus and tests of the program under ASan and UBSan
pyasan: ## tests of the Python package under ASan and UBSan
tsan: ## the tests of `asan` under TSan
valgrind: ## unit tests and a few runs of the program under valgrind
fuzz: ## every fuzz target for FUZZ_SECONDS (60); make fuzz FUZZ_SECONDS=3600
lint: ## rooms, forbidden calls, headers, formatting
tidy: ## clang-tidy
coverage: ## lines of src/ and cli/ that the tests run, per file
fuzz: export FUZZ_SECONDS ?= 60
unit cli python asan pyasan tsan valgrind fuzz lint tidy coverage:
	@scripts/setup.sh test
	@scripts/test.sh $@

bench: ## Hallmark beside other tools, into bench/results; make bench BENCH='--only small'
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build/build.ninja
	@meson configure build --buildtype=release
	@ninja -C build hallmark bench/measure bench/kernel_speed
	@/usr/bin/python3 bench/bench.py $(BENCH)

format: ## formats the sources in place
	@git ls-files -co --exclude-standard '*.c' '*.h' | xargs -r clang-format -i

help: ## this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/\1\t\2/p' Makefile | expand -t 12
