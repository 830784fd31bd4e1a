"""Options for Beam's portable path without a server, a jar or docker."""

from __future__ import annotations


def portable_options() -> list[str]:
    """Return options that submit to a job service inside this process.

    The engine behind it is FnApiRunner again; what it adds is job submission, the graph's
    round trip through its proto and the options' serialisation. Without LOOPBACK the
    service would start a docker container.
    """
    return ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"]
