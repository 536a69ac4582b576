# Two commands matter: `make demo` and `make test`. Both build .venv from the pinned requirements first.
PYTHON ?= python3
PORT ?= 7860
BIN := .venv/bin

.PHONY: demo test clean

demo: .venv/.demo
	$(BIN)/python app.py --port $(PORT)

test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.venv/.demo: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/.test: requirements-dev.txt .venv/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv
