"""What a user can mend, told in one message, by the commands that take a run's settings."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from benchmark.config.composing import explained, misread, system_fault
from benchmark.config.secrets import refuse_argument
from benchmark.errors import BenchmarkError
from benchmark.terminal import Terminal


@contextmanager
def faults_told(overrides: Sequence[str]) -> Iterator[None]:
    """End the process with a message and exit status 1 after a fault that its user can mend.

    Args:
        overrides: the run's settings on the command line.
    """
    try:
        for argument in overrides:
            refuse_argument(argument)
        yield
    except (BenchmarkError, HydraException, OmegaConfBaseException) as error:
        message: str | None = explained(error)
    except OSError as error:
        message = system_fault(error)
    except ValueError as error:
        if (message := misread(error, overrides)) is None:
            raise
    else:
        return
    told = Terminal(stderr=True)
    told.print(f"Error: {message}")
    sys.exit(1)
