"""A local worker process of Beam's that never outlives its launcher: `… PID`.

Beam's own worker tries for two minutes to reach a launcher that died while it started.
This one watches from its first moment, then is Beam's own.
"""

from __future__ import annotations

import sys

from pipelines.harness.failures import quiet_stderr
from pipelines.harness.worker import end_with_launcher


def main() -> None:
    """Do the bundles that the launcher sends; its process number is the only argument."""
    end_with_launcher(int(sys.argv[1]))
    from apache_beam.runners.worker import sdk_worker_main

    with quiet_stderr():  # the launcher is handed every error
        sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
