"""The command: ``python -m benchmark`` or ``capcal`` runs one cell; ``-m`` runs several.

Whatever a user can mend ends in one message and exit status 1, without a traceback.
"""

import difflib
import logging
import os
import re
import sys
from dataclasses import is_dataclass
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from benchmark.config import Config, register_schema
from benchmark.errors import BenchmarkError
from benchmark.rules import checked

CONF = next(
    folder
    for folder in (Path(__file__).parent / "conf", Path(__file__).parent.parent / "conf")
    if folder.is_dir()
)


_failures: list[str] = []


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")  # type: ignore[untyped-decorator]
def _run(composed: DictConfig) -> None:
    try:
        config = checked(composed)
        folder = Path(HydraConfig.get().runtime.output_dir)
        from benchmark.finished import skip_finished  # after the configuration is known to be right

        console = Console(soft_wrap=True)
        if skip_finished(config, folder, console):
            return
        from benchmark.pipeline import run_cell  # seconds to import

        result = run_cell(config, folder, console)
        for name, reason in result.failed.items():
            _report(f"application {name}: {reason}")
    except BenchmarkError as error:  # of one cell of a multirun; the others go on
        _report(str(error))
    except OSError as error:
        _report(_of_the_system(error))


def main() -> None:
    """Run the command line; exit status 1 after a fault that its user can mend."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let faults reach us instead of a traceback
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' bars; ours are rich's
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    for name in ("httpx", "httpx2", "openai"):
        logging.getLogger(name).setLevel(logging.WARNING)  # a line for each request
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each of its retries
    register_schema()
    try:
        _run()
    except (HydraException, OmegaConfBaseException) as error:
        _report(_explained(error))
    except OSError as error:  # the run's folder can't be made
        _report(_of_the_system(error))
    except ValueError as error:  # Hydra's own, for a group set to null
        if "Config group override" not in str(error):
            raise
        emptied = [argument for argument in sys.argv[1:] if re.fullmatch(r"\w+=(null)?", argument)]
        _report(f"{' '.join(emptied)}: name a choice, or a list of them; [] is none.")
    except KeyboardInterrupt:
        sys.exit(130)
    if _failures:
        _failures.clear()
        sys.exit(1)


def _report(message: str) -> None:
    _failures.append(message)
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"Error: {message}", markup=False)


def _of_the_system(error: OSError) -> str:
    """Return what the system refused, and the settings that choose another place."""
    where = f"{error.filename}: " if error.filename else ""
    return (
        f"{where}{error.strerror or error}. Free space, or choose other folders with "
        f"paths.outputs=... and paths.cache=...; then run again: what was finished is kept."
    )


def _explained(error: Exception) -> str:
    """Return the fault with its cause, and the names near to a mistyped one."""
    texts = [str(error)]
    cause = error.__cause__
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__
    lines = list(dict.fromkeys(line for text in texts for line in text.splitlines() if line))
    noise = ("object_type", "Config search path", "provider=")
    message = "\n".join(line for line in lines if not line.lstrip().startswith(noise))
    match = re.search(r"Key '([^']+)'|override '([^']+)'|(?:find|load) '([^']+)'", message)
    if match is None:
        return message
    wrong = next(group for group in match.groups() if group).rsplit("/", maxsplit=1)[-1]
    near = difflib.get_close_matches(wrong.rsplit(".", maxsplit=1)[-1], _known_names(), n=3)
    return message + (f"\nNear names: {', '.join(near)}." if near else "")


def _known_names() -> list[str]:
    """Return every key of the schema, every group and every choice."""
    names = {path.stem for path in CONF.rglob("*.yaml")} | {
        path.parent.name for path in CONF.rglob("*.yaml")
    }

    def keys(node: object) -> None:
        if (
            isinstance(node, DictConfig)
            and node._is_none()
            and is_dataclass(node._metadata.ref_type)
        ):
            node = OmegaConf.structured(node._metadata.ref_type)  # what it holds where it is given
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            for key in node:
                names.add(str(key))
                keys(node._get_node(key))

    keys(OmegaConf.structured(Config))
    return sorted(names - {"conf", "config"})


if __name__ == "__main__":
    main()
