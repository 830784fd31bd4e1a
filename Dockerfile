# The worker image for Dataflow, Flink and Spark: Beam's own image with the lock's versions of the
# core dependencies, and this package. `make image` writes build/worker-requirements.txt first.
#
# Beam and its Python are the lock's: a job pickled by one version does not run on another.
FROM apache/beam_python3.11_sdk:2.77.0 AS worker

# Every wheel of the lock, checked by hash; --no-deps, because the lock is the whole list.
COPY build/worker-requirements.txt /tmp/groundwork/
RUN pip install --no-cache-dir --no-deps --require-hashes \
        -r /tmp/groundwork/worker-requirements.txt

COPY pyproject.toml setup.py README.md LICENSE /tmp/groundwork/
COPY shards/ /tmp/groundwork/shards/
COPY filters/ /tmp/groundwork/filters/
COPY grounding/ /tmp/groundwork/grounding/
COPY pipelines/ /tmp/groundwork/pipelines/
COPY cogvlm/ /tmp/groundwork/cogvlm/
# --no-build-isolation: the build tool is the lock's too. The import shows that nothing is missing.
RUN pip install --no-cache-dir --no-deps --no-build-isolation /tmp/groundwork \
    && rm -r /tmp/groundwork \
    && cd / && python -c "import pipelines.harness.transforms, pipelines.download_job.shard"

# Beam's entry point makes a virtual environment for each worker process in this folder.
RUN useradd --system --create-home groundwork \
    && install --directory --owner=groundwork /opt/apache/beam-venv

# A service that mounts its work folders for root needs --build-arg run_as=root.
ARG run_as=groundwork
USER ${run_as}
