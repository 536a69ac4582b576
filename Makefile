# Two commands matter: `make demo` and `make test`. Both build .venv from the pinned requirements first.
# lmms-eval (docs/evaluation-lmms.md) has an environment of its own: `make lmms` builds it, `make test-lmms` checks it.
PYTHON ?= python3
PORT ?= 7860
BIN := .venv/bin

.PHONY: demo test lmms test-lmms clean

demo: .venv/.demo
	$(BIN)/python app.py --port $(PORT)

test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.venv/.demo: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/.test: requirements-dev.txt requirements-ray.txt .venv/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

lmms: .venv-lmms/.done

test-lmms: .venv-lmms/.done
	OMP_NUM_THREADS=1 .venv-lmms/bin/python -m benchmarks.lmms

.venv-lmms/.done: requirements.txt requirements-lmms.txt
	$(PYTHON) -m venv .venv-lmms
	.venv-lmms/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	.venv-lmms/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-lmms.txt
	touch $@

clean:
	rm -rf .venv .venv-lmms
