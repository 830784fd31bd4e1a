"""What model libraries raise for files that are missing, broken or cannot be downloaded."""

from __future__ import annotations


def library_errors() -> tuple[type[Exception], ...]:
    """Return the classes of such errors; a TypeError, say, is a fault of a program and not there.

    OSError is a missing file or a failed connection, ValueError and KeyError a config that is not
    one, RuntimeError weights of another shape or a name that open_clip does not know.
    """
    import pickle

    from huggingface_hub.errors import HfHubHTTPError
    from safetensors import SafetensorError

    # The bases are those of the HTTP library, whose time-outs the hub passes on as they are.
    http = HfHubHTTPError.__bases__
    files = (SafetensorError, pickle.UnpicklingError, EOFError)
    return (OSError, ValueError, KeyError, RuntimeError, *http, *files)


def reason(error: Exception) -> str:
    """Return the first line of an error, or its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
