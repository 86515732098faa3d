# make demo    train, evaluate, export and predict on a generated dataset; ends with what to type next
# make test    the test suite                     (ARGS="-k config -x" goes to pytest)
# make lint    ruff
# make clean   remove what these made; PURGE=1 also removes the environments
#
# Each target first creates the environment .venv if it is missing. Nothing needs root.

PYTHON ?= python3
# cpu or gpu: which Paddle to install
PADDLE ?= cpu
# Processes that share the tests
WORKERS ?= 2
ARGS ?=

PADDLEDET = paddledet==2.6.0
# Quiet, but errors are shown.
PIP_INSTALL = -m pip install -qq --disable-pip-version-check

.PHONY: demo test test-paddle26 lint clean
.DELETE_ON_ERROR:

demo: .venv/installed
	.venv/bin/ppdet-res2net demo $(ARGS)

# One thread per process: Paddle's own threads would only compete with the other process.
test: .venv/installed-test
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

# Every command once on Paddle 2.6.2, in an environment of its own. Needs Python 3.9 to 3.12.
test-paddle26: .venv-paddle26/installed
	.venv-paddle26/bin/python tests/smoke.py $(ARGS)

lint: .venv/installed-test
	.venv/bin/ruff check .

.venv/installed: EXTRAS = $(PADDLE)
.venv/installed-test: EXTRAS = $(PADDLE),test
.venv-paddle26/installed: EXTRAS = paddle26

# The stamp comes last: an installation that was interrupted is taken up again. paddledet's own requirements cannot be
# met (see setup.py), hence --no-deps.
.venv/installed .venv/installed-test .venv-paddle26/installed: setup.py pyproject.toml
	@echo "Installing into $(@D) (some minutes, once) ..."
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) --editable ".[$(EXTRAS)]"
	@$(@D)/bin/python $(PIP_INSTALL) --no-deps $(PADDLEDET)
	@touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache output output_inference demo
	find . -path './.venv*' -prune -o -type d -name __pycache__ -exec rm -rf {} +
	$(if $(PURGE),rm -rf .venv .venv-paddle26)
