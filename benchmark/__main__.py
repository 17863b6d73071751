"""The command ``capcal``, also ``python -m benchmark``: runs a cell, or several with ``-m``.

``capcal plan``, ``calibrate-rate``, ``report``, ``score`` and ``grade`` do what ``COMMANDS`` says;
without a word, or with ``run``, it is a run.

Whatever a user can mend ends in one message and exit status 1, without a traceback.
"""

import importlib
import logging
import os
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.config.build import with_schemas
from benchmark.config.checks import checked
from benchmark.config.composing import (
    CONF,
    config_folders,
    explained,
    misread,
    prepare_hydra,
    refuse_lists,
    system_fault,
    take_config_dirs,
)
from benchmark.config.misread import refuse_misread
from benchmark.config.schema import Config
from benchmark.config.secrets import refuse_argument
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.records import storable
from benchmark.redaction import hide_variables
from benchmark.runs import jobs
from benchmark.runs.summary import conclude
from benchmark.terminal import Terminal, guarded

COMMANDS = {
    "plan": "benchmark.runs.plan_command",  # what a run or a grid takes
    "calibrate-rate": "benchmark.runs.calibrate_rate",  # measures tokens a second for the plan
    "report": "benchmark.runs.report_command",  # every table and figure from finished runs
    "score": "benchmark.probes.score",  # an exported probe's confidence in questions
    "grade": "benchmark.grading.command",  # tries a grader on a text
}
_failures: list[str] = []


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")  # type: ignore[untyped-decorator]
def _run(composed: DictConfig) -> bool:
    """Run one job, here or wherever a launcher sends it; in a multirun the others go on.

    Returns:
        Whether it ended well.
    """
    _quiet_libraries()  # of this process, which may be another one
    hide_variables()
    with guarded():
        return _run_job(composed)


def _run_job(composed: DictConfig) -> bool:
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    number = OmegaConf.select(hydra_config, "job.num")  # None in a single run
    overrides = hydra_config.overrides.task
    before = len(_failures)
    try:
        with jobs.recorded(folder, composed.phase, number, overrides) as faults:
            refuse_lists(overrides)
            refuse_misread(with_schemas(composed), overrides, config_folders(hydra_config))
            faults += _run_checked(checked(composed), folder)
        for fault in faults:
            _report(fault)
    except BenchmarkError as error:
        _report(str(error))
    except OSError as error:
        _report(system_fault(error, folder))
    except Exception as error:
        if hydra_config.mode is not RunMode.MULTIRUN:
            raise
        _show_traceback()
        _report(f"{type(error).__name__}: {error}")
    return len(_failures) == before


def _run_checked(config: Config, folder: Path) -> list[str]:
    """Run the job of a configuration that breaks no rule; return what went wrong in the end."""
    from benchmark.cell.finished import skip_finished  # after the configuration is checked

    console = Terminal(highlight=True)
    if skip_finished(config, folder, console):
        return []
    from benchmark.runs.one_cell import run_cell, sample_cell  # seconds to import

    if config.phase == "sample":
        sample_cell(config, folder, console)
        return []
    result = run_cell(config, folder, console)
    return [f"application {name}: {reason}" for name, reason in result.failed.items()]


def main() -> None:
    """Run the command line; exit status 1 after a fault that its user can mend."""
    hide_variables()
    with guarded():
        try:
            _main()
        except OSError as error:  # standard output is full
            _report(system_fault(error))
            sys.exit(1)
        except Exception:  # noqa: BLE001  a fault of ours: its traceback, without secrets
            _show_traceback()
            sys.exit(1)


def _main() -> None:
    sys.argv[1:] = take_config_dirs(sys.argv[1:])
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # as python -m does, for classes of one's own
    word = sys.argv[1] if len(sys.argv) > 1 else "run"
    if word in COMMANDS:
        # Each is imported when it is called for: some take seconds.
        sys.exit(importlib.import_module(COMMANDS[word]).main(sys.argv[2:]))
    if word == "run":
        del sys.argv[1:2]
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let faults reach us instead of a traceback
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' bars; ours are rich's
    _quiet_libraries()
    finished = False
    try:
        prepare_hydra()
        _check_arguments()
        _launch()
        finished = conclude(Terminal())
    except BenchmarkError as error:  # of the grid's report
        _report(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _report(explained(error))
    except OSError as error:  # a folder can't be made
        _report(system_fault(error))
    except KeyboardInterrupt:
        sys.exit(130)
    if _failures or not finished:
        _failures.clear()
        jobs.launched.clear()
        sys.exit(1)


def _launch() -> None:
    """Run the jobs; a launcher that gives up is reported, once none of its jobs runs any more."""
    try:
        _run()
    except SystemExit as stop:
        if not isinstance(stop.code, str):  # a status; a text is of the callback ``JobList``
            raise
        _report(stop.code)
    except (HydraException, OmegaConfBaseException, OSError):
        raise
    except Exception as error:
        wrong = misread(error, sys.argv[1:])
        if wrong is None and not jobs.launched:
            raise
        _report(wrong or f"The launcher gave up: {str(error).splitlines()[0]}")
        jobs.wait_for_submitted()


def _check_arguments() -> None:
    """Refuse what Hydra could not write into the run's folder, and settings without a key.

    Raises:
        ConfigError: naming the argument.
    """
    for argument in sys.argv[1:]:
        if storable(argument) != argument:
            raise ConfigError(f"{argument!a} is not text in UTF-8.")
        if argument.startswith("="):
            raise ConfigError(f"{argument}: settings are written as key=value.")
        refuse_argument(argument)


def _quiet_libraries() -> None:
    # matplotlib tells of each font, the clients of each request, the Hub of each retry.
    for name in ("matplotlib", "fontTools", "httpx", "httpx2", "openai"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _show_traceback() -> None:
    Terminal(stderr=True).print(traceback.format_exc())


def _report(message: str) -> None:
    _failures.append(message)
    Terminal(stderr=True).print(f"Error: {message}")


if __name__ == "__main__":
    main()
