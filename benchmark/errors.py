"""What a user reads when something is wrong: one message, no traceback, exit status 1.

Every message names the thing, the value that was found and the way out.
"""


class BenchmarkError(Exception):
    """A fault that the user can mend; its text is the whole message."""


class ConfigError(BenchmarkError):
    """A key, a choice or a value of the configuration is wrong."""


class DataError(BenchmarkError):
    """A dataset row, a record or an array breaks its contract."""


class ModelError(BenchmarkError):
    """A model or the engine that runs it cannot do what was asked."""


class StoreError(BenchmarkError):
    """An artifact cannot be read, trusted or written."""
