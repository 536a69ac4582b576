# Two commands matter: `make demo` and `make test`. Both build .venv first, from locks/: every package in one version, and
# no file whose SHA-256 is another (SECURITY.md). `python -m scripts.lock` writes them from requirements*.txt.
# lmms-eval (docs/evaluation-lmms.md) has an environment of its own: `make lmms` builds it, `make test-lmms` checks it.
PYTHON ?= python3
PORT ?= 7860
BIN := .venv/bin
LOCKS := $(addprefix locks/,setuptools.txt torch-cpu.txt torch.txt cuda.txt app.txt)
INSTALL := -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --require-hashes

.PHONY: demo test soak lmms test-lmms clean

demo: .venv/.demo
	$(BIN)/python app.py --port $(PORT)

test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

soak: .venv/.demo
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.soak

.venv/.demo: $(LOCKS)
	$(PYTHON) -m venv .venv
	$(call app,.venv/bin/python)
	touch $@

.venv/.test: locks/ray.txt locks/test.txt .venv/.demo
	$(BIN)/python $(INSTALL) -r locks/ray.txt -r locks/test.txt
	touch $@

# What the app needs, by one environment's Python. PyTorch's CPU build where pip is told of a place that has it; else the
# registry's, and what its metadata says that it needs: on Linux that is CUDA.
define app
	$(1) $(INSTALL) -r locks/setuptools.txt
	$(1) $(INSTALL) -r locks/torch-cpu.txt 2>/dev/null || $(1) $(INSTALL) -r locks/torch.txt
	if $(1) -m pip show torch | grep -q '^Requires:.*cuda'; then $(1) $(INSTALL) -r locks/cuda.txt; fi
	$(1) $(INSTALL) -r locks/app.txt
endef

lmms: .venv-lmms/.done

test-lmms: .venv-lmms/.done
	OMP_NUM_THREADS=1 .venv-lmms/bin/python -m benchmarks.lmms

.venv-lmms/.done: $(LOCKS) locks/lmms.txt
	$(PYTHON) -m venv .venv-lmms
	$(call app,.venv-lmms/bin/python)
	.venv-lmms/bin/python $(INSTALL) -r locks/lmms.txt
	touch $@

clean:
	rm -rf .venv .venv-lmms
