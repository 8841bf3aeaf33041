# Two commands do everything on a machine that has Python 3.11 or newer and make: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One process, one thread: a crowded machine runs two-threaded torch many times slower.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check figures bench reproduction clean

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %d.%d; give PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

# The shipped robust checkpoint under the budget it was trained with, on the embedded images.
demo: $(VENV)/.installed
	mkdir -p demo
	$(BIN)/landscape sharpness data/checkpoints/lenet4_eps0.1.pt --eps 0.1 --data fashion-mini -o demo/sharpness.h5
	$(BIN)/landscape plot demo/sharpness.h5 -o demo/sharpness.pdf

test: $(VENV)/.installed
	$(BIN)/python -m pytest

# What a contribution must pass.
check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy landscape
	$(BIN)/python -m pytest -m "not slow"

figures: $(VENV)/.installed
	set -e; for png in figures/*.png; do $(BIN)/python $${png%.png}.py; done

# What docs/reproduction.md reports: trains and measures what is not there yet. Needs the digits and Fashion-MNIST of data/README.md.
STUDIES := linear_theory early_training late_training smoothness perturbation_similarity \
	hessian_spectrum landscapes learning_rate schedules_table connectivity
reproduction: $(VENV)/.installed
	set -e; for study in $(STUDIES); do $(BIN)/python analyses/$$study.py; done

# The tables of cost in the README, measured on this machine, beside PyHessian, scipy and other tools.
bench: $(VENV)/.installed
	$(BIN)/python analyses/curvature_cost.py
	$(BIN)/python analyses/gradient_cost.py
	$(BIN)/python analyses/surface_cost.py
	$(BIN)/python analyses/training_cost.py

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
