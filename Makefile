# Two commands on a fresh machine: `make demo` and `make test`. PYTHON is any Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO ?= runs/demo

.PHONY: demo test docs clean

demo: $(VENV)/.installed
	$(BIN)/bitlens compare demo-plain demo-cmim demo-float --seeds 5 --jobs 0 \
	  --plane --plane-samples 500 --plane-points 30 --out $(DEMO)
	$(BIN)/bitlens report $(DEMO)
	$(BIN)/bitlens study information-plane --tier smoke --out $(DEMO)-study
	$(BIN)/bitlens pack $(DEMO)/demo-cmim/seed0
	$(BIN)/bitlens bench $(DEMO)/demo-cmim/seed0

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check --min-severity=warn --python-interpreter-path $(BIN)/python
	$(BIN)/python -m pytest -n 2

docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .[docs]
	$(BIN)/zensical build

# torch first and by itself: whatever asks for it later finds the pinned build in place.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .[dev]
	touch $@

clean:
	rm -rf $(VENV) build dist site
