# Every target builds the environment from the lock file if it is missing or out of date.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
IMAGE ?= groundwork-worker

.PHONY: setup demo learn learn-ablate test test-fast test-golden verify-glip verify-official check bench docs image lock format

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(READY)

demo: setup
	$(BIN)/python -m examples.demo

learn: setup
	$(BIN)/python -m examples.learn

learn-ablate: setup
	$(BIN)/python -m examples.ablate

# One worker per core. Each computes on one thread; with more they would compete for the cores.
PYTEST := NO_ALBUMENTATIONS_UPDATE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test: setup
	$(PYTEST)

# Tests that need no job, training or server: under two minutes on two cores.
test-fast: setup
	$(PYTEST) tests/unit tests/property -m "not slow"

# GOLDEN_DIR names another folder with the layout of tests/golden.
test-golden: setup
	$(BIN)/python -m pytest tests/integration/golden

# Checks a GLIP checkpoint against its published accuracy; neither it nor the images may be
# redistributed. VOCAB is the vocabulary of bert-base-uncased, if the checkpoint's folder has none.
verify-glip: setup
	$(BIN)/python -m grounding.verify --weights "$(WEIGHTS)" --flickr "$(FLICKR)" $(if $(VOCAB),--vocab "$(VOCAB)")

# The official grounding model (cogvlm-grounding-generalist v1.1) must reach 92.76 % ± 0.3 on
# RefCOCO's val split. REFCOCO is a shard set of it (docs/evaluation.md); neither may be
# redistributed.
verify-official: setup
	$(BIN)/python -m cogvlm.evaluation.verify --checkpoint "$(CHECKPOINT)" --refcoco "$(REFCOCO)"

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH=$(BIN):$$PATH lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	NO_ALBUMENTATIONS_UPDATE=1 $(BIN)/python -m benchmarks

docs: setup
	$(BIN)/python -m scripts.make_docs

image: setup
	mkdir -p build
	$(BIN)/python -m scripts.worker_requirements $(addprefix --extra ,$(EXTRAS)) > build/worker-requirements.txt
	docker build --target worker --tag $(IMAGE) $(BUILD_ARGS) .

# Hashes of public releases for every platform, no index URLs. torch and torchvision must match.
lock:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.8
	PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= $(BIN)/uv pip compile pyproject.toml \
		--universal --python-version 3.11 --extra all --extra dev --constraint constraints.txt \
		--generate-hashes --no-annotate --no-header --no-emit-index-url -o requirements.lock
