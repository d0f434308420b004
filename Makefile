# Two commands do it all on a fresh machine: `make demo` and `make test`. Everything else is a part of them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cortex
# Outside the clone, so that a second clone (and CI) rebuilds only our own crates.
export CARGO_TARGET_DIR ?= $(CACHE)/target
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP_VERSION := 26.3
RUST_SOURCES := $(shell find rust Cargo.toml Cargo.lock -name '*.rs' -o -name 'Cargo.*' 2>/dev/null)
PYTEST := $(BIN)/python -m pytest

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: tools
tools:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "cortex needs Python 3.11 to 3.14: install python3 (or set PYTHON=/path/to/python3.x)." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: apt-get install python3-venv (Debian), or install a full python3." >&2; exit 1; }
	@command -v cargo >/dev/null || \
	  { echo "Rust is missing: install it from https://rustup.rs, or: dnf install cargo rustc." >&2; exit 1; }
	@command -v cc >/dev/null || \
	  { echo "A C compiler is missing: apt-get install build-essential, or: dnf install gcc gcc-c++." >&2; exit 1; }

$(VENV)/.runtime: requirements.txt requirements-dev.txt | tools
	@echo "==> virtual environment and locked dependencies ($(VENV))"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q pip==$(PIP_VERSION)
	$(BIN)/python -m pip install --progress-bar on -r requirements.txt $$(grep '^maturin==' requirements-dev.txt)
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "==> development dependencies"
	$(BIN)/python -m pip install --progress-bar on -r requirements-dev.txt
	@touch $@

$(VENV)/.built: $(RUST_SOURCES) pyproject.toml requirements-dev.txt $(VENV)/.runtime
	@echo "==> the engine, release build (a few minutes the first time; cargo's target: $(CARGO_TARGET_DIR))"
	PATH="$(CURDIR)/$(BIN):$$PATH" MATURIN_PEP517_ARGS=--locked \
	  $(BIN)/python -m pip install -v --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: build
build: $(VENV)/.built ## build the extension into .venv

.PHONY: model
model: $(VENV)/.built ## fetch the small real model (SmolLM2-135M-Instruct, 93 MB) into the cache
	@$(BIN)/cortex starter-model

.PHONY: demo
demo: model ## gateway + neuron + a small real model, asked through both dialects (KEEP=1 leaves it running)
	@$(BIN)/cortex demo $(if $(KEEP),--keep)

.PHONY: test
test: test-rust test-python ## every test: Rust, Python, house rules, end to end on the real model

.PHONY: test-rust
test-rust: $(VENV)/.dev | tools model
	@echo "==> Rust tests, also of the fixtures as GGUF files"
	@folder=$$(mktemp -d); trap "rm -rf $$folder" EXIT; \
	  $(BIN)/python -m tests.variants --twins --out $$folder; \
	  CORTEX_VARIANTS=$$folder cargo test --workspace --locked --no-fail-fast

TORCH := torch transformers
.PHONY: variants
variants: $(VENV)/.dev ## draw models of all families, ask the reference, compare (installs torch into dist/variants)
	$(PYTHON) -m venv dist/variants/venv
	dist/variants/venv/bin/python -m pip install -q $(TORCH) -r requirements-dev.txt
	dist/variants/venv/bin/python -m tests.variants --out dist/variants/models
	CORTEX_VARIANTS=$(CURDIR)/dist/variants/models cargo test --locked -p cortex-engine --test variants -- --nocapture

.PHONY: test-python
test-python: $(VENV)/.dev $(VENV)/.built model
	@echo "==> Python tests"
	$(PYTEST)

.PHONY: test-fleet
test-fleet: $(VENV)/.dev $(VENV)/.built model ## deploy, upgrade and break three hosts that boot (root, Linux; says what is missing)
	CORTEX_TEST_FLEET=all $(PYTEST) -s tests/fleet

.PHONY: test-fleet-short
test-fleet-short: $(VENV)/.dev $(VENV)/.built model ## the part of it that CI has time for: fresh, again, kill, stop, restart
	CORTEX_TEST_FLEET=short $(PYTEST) -s -m short tests/fleet

.PHONY: lint
lint: $(VENV)/.dev ## formatting, types, layers, clippy (needs no built extension)
	@echo "==> formatting, types, layers"
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=python $(BIN)/lint-imports
	@echo "==> Rust: formatting, clippy"
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: format
format: $(VENV)/.dev ## rewrite to the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cargo fmt

.PHONY: bench
bench: $(VENV)/.dev $(VENV)/.built model ## the benchmarks (pytest-benchmark)
	$(PYTEST) benches --benchmark-enable --benchmark-only --benchmark-disable-gc \
	  --benchmark-columns=median,min,max,stddev,rounds --benchmark-sort=fullname

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= weights/gguf weights/safetensors text/tokenizer_gguf text/tokenizer_json text/template text/output
.PHONY: fuzz
fuzz: | tools ## fuzz readers, tokenizers, templates and stream parsers (FUZZ_SECONDS each; nightly Rust, cargo-fuzz)
	@cargo +nightly --version >/dev/null 2>&1 || \
	  { echo "Nightly Rust is missing: rustup toolchain install nightly --profile minimal." >&2; exit 1; }
	@cargo fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked." >&2; exit 1; }
	@for target in $(FUZZ_TARGETS); do \
	  crate=$(CURDIR)/rust/$${target%/*}; name=$${target#*/}; corpus=$(CACHE)/fuzz/$$target; mkdir -p $$corpus; \
	  dictionary=$$crate/fuzz/dictionaries/$$name.dict; seeds=$$crate/fuzz/seeds/$$name; \
	  options="-max_total_time=$(FUZZ_SECONDS) -timeout=60 -rss_limit_mb=4096"; \
	  if [ -f $$dictionary ]; then options="$$options -dict=$$dictionary"; fi; \
	  if [ ! -d $$seeds ]; then seeds=; fi; \
	  echo "==> $$target, $(FUZZ_SECONDS) seconds (corpus: $$corpus)"; \
	  (cd $$crate && cargo +nightly fuzz run $$name $$corpus $$seeds -- $$options); \
	done

.PHONY: wheel
wheel: $(VENV)/.runtime ## the abi3 wheel, in dist/; fails where it is not a manylinux one
	$(BIN)/maturin build --profile dist --locked --compatibility pypi --out dist

.PHONY: test-packages
test-packages: $(VENV)/.dev model ## source packages, RPMs, wheel and sdist made for real, without network (half an hour)
	CORTEX_TEST_PACKAGES=1 $(PYTEST) -s tests/packages

# The target's Python, whose wheels are vendored: make rpm builds for this machine, COPR sets its own.
RPM_PYTHON ?= $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
.PHONY: srpm
srpm: $(VENV)/.runtime ## source packages of both RPMs with everything vendored, in dist/srpm (RPM_PYTHON=3.14)
	PATH="$(CURDIR)/$(BIN):$$PATH" rpm/tools/srpm.sh dist/srpm $(RPM_PYTHON)

.PHONY: rpm
# Where the build requirements are no RPMs (Debian): RPMBUILD="rpmbuild --nodeps".
RPMBUILD ?= rpmbuild
rpm: srpm ## both RPMs for this machine, in dist/rpm
	for package in dist/srpm/*.src.rpm; do \
	  $(RPMBUILD) --rebuild --define "_topdir $(CURDIR)/dist/rpmbuild" --define "_rpmdir $(CURDIR)/dist/rpm" $$package; done

.PHONY: release
release: ## check and tag a release: make release VERSION=1.2.3
	rpm/tools/release.sh "$(VERSION)"

# The bills of materials: maturin puts that of the crates into the wheel, cyclonedx-py makes that of the wheels.
CYCLONEDX := cyclonedx-bom==7.5.0
.PHONY: artefacts
artefacts: wheel srpm ## what a release has, in dist/release: wheel, sdist, source packages, SBOMs, checksums
	rm -rf dist/release dist/sbom && mkdir -p dist/release
	$(BIN)/maturin sdist --out dist/release
	cp $$(ls -t dist/*.whl | head -n 1) dist/srpm/*.src.rpm dist/srpm/SOURCES/*-crates.tar dist/release
	$(PYTHON) -m venv dist/sbom && dist/sbom/bin/python -m pip install -q $(CYCLONEDX)
	dist/sbom/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	  -o dist/release/python.cdx.json requirements.txt
	unzip -qjo dist/release/*.whl '*/sboms/*' -d dist/release
	cd dist/release && sha256sum * > SHA256SUMS

.PHONY: lock
lock: $(VENV)/.dev ## renew requirements*.txt from pyproject.toml
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile -q -U --universal --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links \
	  --no-annotate pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile -q -U --universal --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links \
	  --no-annotate --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt

.PHONY: clean
clean: ## remove what was built here (the cache stays)
	rm -rf $(VENV) dist build python/cortex/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
