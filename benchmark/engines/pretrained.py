"""What transformers reads of a model's files: always data, never the model's own code.

Without an answer to ``trust_remote_code`` transformers asks on the terminal whether to run such
code, and a "y" on standard input runs it.
"""

from typing import Any


def pretrained(kind: Any, location: str, revision: str | None = None, **settings: Any) -> Any:
    """Return what an Auto class of transformers makes of a model's files.

    Args:
        kind: the class.
        location: a folder, or a hub id.
        revision: of the hub id.
        settings: of ``kind.from_pretrained``.

    Raises:
        Exception: of many libraries, where a file is missing, damaged or needs code of its own.
    """
    try:
        return kind.from_pretrained(
            location, revision=revision, trust_remote_code=False, **settings
        )
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of Rust, which is no Exception
            raise ValueError(str(error)) from error
        raise
