"""One job of the stubbed Dataflow service: its staged files in, a state and a log out."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from pathlib import Path

from helpers.pipelines.worker_env import install_staged

_SCRIPT = Path(__file__).with_name("run_recorded_graph.py")


class GraphRun:
    """Runs in a thread and a child process from the moment it is made.

    Args:
        python: Interpreter of the worker environment; None does nothing and is DONE.
        files: Staged files by name; `pipeline.pb`, and `workflow.tar.gz` where code was staged.
        timeout_s: The child is killed after that, and the run has FAILED.
    """

    def __init__(self, python: str | None, files: dict[str, bytes], timeout_s: float) -> None:
        self.state = "DONE" if python is None else "RUNNING"
        self._log = ""
        self._child: subprocess.Popen[str] | None = None
        self._cancelled = False
        self._thread: threading.Thread | None = None
        if python is not None:
            work = (python, files, timeout_s)
            self._thread = threading.Thread(target=self._finish, args=work, daemon=True)
            self._thread.start()

    def log_tail(self, characters: int = 4000) -> str:
        """Return the end of what the worker said."""
        return self._log[-characters:]

    def cancel(self) -> None:
        """Kill the worker if it runs."""
        if self.state == "RUNNING":
            self._cancelled = True
            if self._child is not None:
                self._child.kill()

    def wait(self, timeout_s: float = 60) -> str:
        """Wait for the end, files removed; return the state."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self.state

    def _finish(self, python: str, files: dict[str, bytes], timeout_s: float) -> None:
        succeeded = False
        try:
            succeeded = self._run(python, files, timeout_s)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            self._log += f"\n{type(error).__name__}: {error}"
        finally:
            ended = "DONE" if succeeded else "FAILED"
            self.state = "CANCELLED" if self._cancelled else ended

    def _run(self, python: str, files: dict[str, bytes], timeout_s: float) -> bool:
        with tempfile.TemporaryDirectory(prefix="groundwork-job-") as folder:
            for name, data in files.items():
                Path(folder, name).write_bytes(data)
            packages = Path(folder, "packages")
            if "workflow.tar.gz" in files:
                install_staged(python, Path(folder, "workflow.tar.gz"), packages)
            environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
            self._child = subprocess.Popen(
                # -P, -s: neither this folder's modules nor the user's own are a worker's.
                [python, "-P", "-s", str(_SCRIPT), f"{folder}/pipeline.pb"],
                cwd=folder,
                env={**environment, "PYTHONPATH": str(packages)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if self._cancelled:
                self._child.kill()
            try:
                self._log += self._child.communicate(timeout=timeout_s)[0]
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._log += f"{self._child.communicate()[0]}\nkilled after {timeout_s} s"
            return self._child.returncode == 0
