# make demo      train, evaluate, export and predict on a generated dataset; ends with what to type next
#
# make check     everything that must hold before a change is offered: the next four, in this order; changes no file
#   format-check   whether 'make format' would change anything
#   lint           ruff's rules
#   types          mypy
#   test           the test suite                    (make test ARGS="-k config -x" goes to pytest)
# make format    lay out the code and sort the imports; changes files
#
# make test-paddle26   every command once on Paddle 2.6.2
# make test-readme     README's "Your own dataset" on photos made for it, word for word; takes minutes
# make test-wheels     both wheels are complete, and the runtime works where nothing else is installed
# make clean           remove the files that these targets made; PURGE=1 also removes the environments
#
# Each target first creates the environment .venv if it is missing. Nothing needs root.

PYTHON ?= python3
# cpu or gpu: which Paddle to install
PADDLE ?= cpu
# Processes that share the tests: one more than two cores, since many tests wait for commands that they start
WORKERS ?= 3
ARGS ?=

PADDLEDET = paddledet==2.6.0
# Quiet, but errors are shown.
PIP_INSTALL = -m pip install -qq --disable-pip-version-check

.PHONY: demo check format format-check lint types test test-paddle26 test-readme test-wheels clean
.DELETE_ON_ERROR:
# Targets share environments, so 'make -j' must not run two at once.
.NOTPARALLEL:

demo: .venv/installed
	.venv/bin/ppdet-res2net demo $(ARGS)

# The quick checks first
check: format-check lint types test

format: .venv/installed-dev
	.venv/bin/ruff check --select I --fix .
	.venv/bin/ruff format .

format-check: .venv/installed-dev
	.venv/bin/ruff format --check .

lint: .venv/installed-dev
	.venv/bin/ruff check .

# What is checked, and how strictly, is in pyproject.toml.
types: .venv/installed-dev
	.venv/bin/mypy

# One thread per process: Paddle's own threads would only compete with the other process. Compiled files are kept whatever the
# environment says, because the tests start hundreds of commands that would compile the sources again.
test: .venv/installed-dev
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

# Every command once on Paddle 2.6.2, in an environment of its own. Needs Python 3.10 to 3.12.
test-paddle26: .venv-paddle26/installed
	.venv-paddle26/bin/python tests/smoke.py $(ARGS)

# README's commands for one's own data reach a stated AP.
test-readme: .venv/installed
	.venv/bin/python tests/readme.py $(ARGS)

# Both wheels are complete, and the runtime works in an environment that has nothing else.
test-wheels: .venv/installed-dev
	.venv/bin/python -m tests.packaging.wheels

.venv/installed: EXTRAS = $(PADDLE)
.venv/installed-dev: EXTRAS = $(PADDLE),onnx,openvino,video,fast-eval,serve,client,parquet,hub,visualdl,tensorboard,wandb,mlflow,test,dev
.venv-paddle26/installed: EXTRAS = paddle26

# The stamp is written last, so that an interrupted installation is repeated. --no-deps is needed because paddledet's own
# requirements cannot be met (see pyproject.toml).
.venv/installed .venv/installed-dev .venv-paddle26/installed: setup.py pyproject.toml
	@echo "Installing into $(@D) (some minutes, once) ..."
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) --editable ".[$(EXTRAS)]"
	@$(@D)/bin/python $(PIP_INSTALL) --no-deps $(PADDLEDET)
	@touch $@

clean:
	rm -rf build dist *.egg-info deploy/python/build deploy/python/*.egg-info .mypy_cache .pytest_cache .ruff_cache demo
	find . -path './.venv*' -prune -o -type d -name __pycache__ -exec rm -rf {} +
	$(if $(PURGE),rm -rf .venv .venv-paddle26)
