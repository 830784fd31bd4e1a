"""Run a recorded pipeline graph in this interpreter; a Dataflow worker's part in the tests.

Called as `python run_recorded_graph.py PIPELINE_PB`. Every docker environment of the graph
becomes the embedded one: pickles, coders and options must do with what is installed here.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(path: str) -> None:
    """Read the graph, run it on FnApiRunner, raise what the graph raises."""
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.portability import common_urns, python_urns
    from apache_beam.portability.api import beam_runner_api_pb2
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

    graph = beam_runner_api_pb2.Pipeline.FromString(Path(path).read_bytes())
    for environment in graph.components.environments.values():
        assert environment.urn == common_urns.environments.DOCKER.urn, environment.urn
        environment.urn = python_urns.EMBEDDED_PYTHON
        environment.payload = b""
        del environment.dependencies[:]  # installed before this interpreter started
    FnApiRunner().run_via_runner_api(graph, PipelineOptions([])).wait_until_finish()


if __name__ == "__main__":
    main(sys.argv[1])
