# Every target makes its environment from the lock when it is missing.
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

# One worker a core; each computes on one thread, or they would wait for each other.
PYTEST := NO_ALBUMENTATIONS_UPDATE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test: setup
	$(PYTEST)

# What needs no job, no training and no server: under two minutes on two cores.
test-fast: setup
	$(PYTEST) tests/unit tests/property -m "not slow"

# GOLDEN_DIR names another folder of the layout of tests/golden.
test-golden: setup
	$(BIN)/python -m pytest tests/integration/golden

# A GLIP checkpoint against its published number; neither it nor the images may be handed on.
# VOCAB is the vocabulary of bert-base-uncased, where the checkpoint has none beside it.
verify-glip: setup
	$(BIN)/python -m grounding.verify --weights "$(WEIGHTS)" --flickr "$(FLICKR)" $(if $(VOCAB),--vocab "$(VOCAB)")

# The official grounding model (cogvlm-grounding-generalist v1.1) must be right on 92.76 % ± 0.3 of
# RefCOCO's val split. REFCOCO is a shard set of it (docs/evaluation.md); neither may be handed on.
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

# Public hashes for every platform, no addresses. torch and torchvision are a matching pair.
lock:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.8
	PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= $(BIN)/uv pip compile pyproject.toml \
		--universal --python-version 3.11 --extra all --extra dev --constraint constraints.txt \
		--generate-hashes --no-annotate --no-header --no-emit-index-url -o requirements.lock
