# Two commands matter: `make demo` and `make test`. Each builds .venv first if it must.
# Paths are relative, so a folder whose name has a space in it works.

PYTHON ?= python3
RUN := .venv/bin/python
INSTALL := -m pip install --disable-pip-version-check --quiet

export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow lint fuzz test-oldest test-portability test-seeds test-gpu docs test-docs clean

demo: .venv/installed
	$(RUN) docs/examples/plot_beside_pca.py

test: .venv/installed lint
	$(RUN) -m pytest -n 2 --dist worksteal

# More of the same: other parameters of the estimators, other numbers of processes.
test-slow: .venv/installed
	$(RUN) -m pytest -n 2 --dist worksteal -m slow

# An hour or two of hard questions: 50,000 fits of anything, and as many broken files.
fuzz: .venv/installed
	SKLEARN_AE_FUZZ=50000 MUTATIONS=50000 $(RUN) -m pytest -n 2 tests/test_fuzz.py tests/test_fuzz_files.py \
		tests/test_written_is_read.py

lint: .venv/installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(RUN) $(INSTALL) --constraint constraints.txt --editable ".[plot,test]"
	touch .venv/installed

# The oldest versions that pyproject.toml admits, in an environment of their own.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python $(INSTALL) --constraint constraints-oldest.txt --editable ".[plot,test]"
	.venv-oldest/bin/python -m pytest -n 2 --dist worksteal

# Other instructions, numbers of threads, orders, users, homes, locales, and pre-releases.
test-portability: .venv/installed .venv-pre/installed
	$(RUN) tests/portability.py

.venv-pre/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-pre
	.venv-pre/bin/python $(INSTALL) --constraint constraints.txt --editable ".[plot,test]"
	.venv-pre/bin/python $(INSTALL) --upgrade --pre numpy scipy scikit-learn
	touch .venv-pre/installed

# Tests that draw, with twenty other draws. What is compared with files has no other draws.
test-seeds: .venv/installed
	for shift in $$(seq 1 20); do \
		SKLEARN_AE_SEED_SHIFT=$$shift $(RUN) -m pytest -q -n 2 tests --ignore tests/test_golden.py \
			|| exit 1; \
	done

# On a CUDA device, with the version of torch for it; all are skipped where there is none.
test-gpu: .venv/installed
	$(RUN) -m pytest tests/on_cuda.py -r s

# From nothing: pages that no longer exist would stay. Examples run again only if they changed.
docs: .venv/installed
	$(RUN) $(INSTALL) --constraint constraints.txt --editable ".[docs]"
	rm -rf docs/_build docs/generated
	$(RUN) -m sphinx -W --keep-going -b html docs docs/_build/html

# Every page in Chromium, which must be installed: wide and narrow, light and dark.
test-docs: docs
	$(RUN) $(INSTALL) --constraint constraints.txt --editable ".[site]"
	$(RUN) -m pytest -n 2 --dist worksteal tests/site/on_site.py

clean:
	rm -rf .venv .venv-oldest .venv-pre demo_output docs/_build docs/auto_examples docs/generated
