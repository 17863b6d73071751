"""From a command line to configurations, and what a user reads where that fails."""

import argparse
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from benchmark.config.schema import Config, register_schema
from benchmark.errors import ConfigError
from benchmark.terminal import ERRORS, OUTPUT

CONF = next(
    folder
    for folder in (Path(__file__).parents[1] / "conf", Path(__file__).parents[2] / "conf")
    if folder.is_dir()
)

OWN_FOLDERS = "CAPCAL_CONF"  # environment variable with a list of folders, as PATH is one

_PART_OF_NULL = re.compile(  # the words of OmegaConf, so that no other fault is taken for it
    r"'NoneType' object has no attribute '\w+'\n +full_key: |Unexpected type for root: NoneType"
)
_SINGLE = ("dataset", "model", "engine", "sampling", "tracker")  # groups of which one is chosen


class OwnFolders(SearchPathPlugin):  # type: ignore[misc]
    """Hydra's plugin that searches ``own_folders`` before ``conf``, in launched jobs, too."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put them before ``conf``, so that a file of one's own is never ignored."""
        for folder in own_folders():
            search_path.prepend("own", f"file://{folder}", SearchPathQuery(provider="main"))


def own_folders() -> list[Path]:
    """Return the folders of YAML files that the environment variable ``CAPCAL_CONF`` lists.

    Raises:
        ConfigError: one of them is no folder.
    """
    listed = os.environ.get(OWN_FOLDERS, "").split(os.pathsep)
    folders = [Path(name).expanduser().absolute() for name in listed if name.strip()]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(
                f"{folder} is no folder, and {OWN_FOLDERS} or --config-dir names it: it should "
                f"hold YAML files as conf/ does, such as estimator/mine.yaml."
            )
    return folders


def prepare_hydra() -> None:
    """Make the schema and the folders of one's own known to Hydra."""
    register_schema()
    own_folders()  # whose faults are told before Hydra wraps them
    Plugins.instance().register(OwnFolders)


def take_config_dirs(arguments: Sequence[str]) -> list[str]:
    """Return the command line without ``--config-dir``, whose folders go into ``CAPCAL_CONF``.

    So they hold for every command, and for what it starts.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    given, others = parser.parse_known_args([*arguments])
    listed = [name for name in [os.environ.get(OWN_FOLDERS, ""), *given.config_dir] if name]
    if given.config_dir:
        os.environ[OWN_FOLDERS] = os.pathsep.join(listed)
    return others


def refuse_lists(overrides: Sequence[str]) -> None:
    """Refuse several choices of a group that takes one, which Hydra would mix into one."""
    for override in OverridesParser.create().parse_overrides([*overrides]):
        name = override.key_or_group
        if name in _SINGLE and isinstance(override.value(), list):
            raise ConfigError(
                f"{name}=... must be one choice; several are run by -m {name}=one,other."
            )


def config_folders(hydra_config: DictConfig) -> list[Path]:
    """Return the folders that configuration files were searched in, packages left out."""
    sources = hydra_config.runtime.config_sources
    return [Path(source.path) for source in sources if source.schema == "file"]


def job_overrides(swept: Mapping[str, str] | None, overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each job that Hydra makes of a sweep, in their order.

    Args:
        swept: settings that the configuration sweeps over, ``hydra.sweeper.params``.
        overrides: settings on the command line; they go before those.
    """
    lines = [f"{key}={value}" for key, value in (swept or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides([*lines, *overrides]), None)
    return [[*job] for job in jobs]


def compose_jobs(overrides: Sequence[str]) -> list[DictConfig]:
    """Return the configuration of each job of a command line, composed but not checked.

    Raises:
        HydraException: an override, a group or a key is wrong.
    """
    prepare_hydra()
    refuse_lists(overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        parsed = parser.parse_overrides([*overrides])
        single = [o.input_line or "" for o in parsed if not o.is_sweep_override()]
        whole = compose("config", single, return_hydra_config=True)
        return [
            compose("config", job) for job in job_overrides(whole.hydra.sweeper.params, overrides)
        ]


def misread(error: Exception, arguments: Sequence[str]) -> str | None:
    """Return what is wrong with a command line that Hydra ends with a plain Python error about.

    These are groups that are set to null or to a number, numbers of thousands of digits, and parts
    of a setting that is null.
    """
    if isinstance(error, AttributeError | AssertionError) and _PART_OF_NULL.match(str(error)):
        parts = [text for text in arguments if re.match(r"[^=]*\.[^=]*(\.[^=]*=|=\s*\{)", text)]
        if parts:
            return (
                f"{' '.join(parts)}: what is null has no parts that a command line could set; "
                f"write the whole setting into a file in conf/ and choose that."
            )
    if not isinstance(error, ValueError):
        return None
    if "Config group override" in str(error):
        chosen = [text for text in arguments if re.fullmatch(r"[\w/@~+]+=[\w.+-]*", text)]
        return f"{' '.join(chosen)}: name a choice, or a list of them; [] is none."
    if "integer string conversion" in str(error):
        return f"A number on the command line is too long. {error}"
    return None


def system_fault(error: OSError, folder: Path | None = None) -> str:
    """Return what the system refused, and the settings that choose another place.

    Args:
        error: error of the system; it names no file where an open one can't grow.
        folder: folder of the run, which is named in that case.
    """
    if isinstance(error, BrokenPipeError):
        return "Nobody reads the output any more. Run again: what was finished is kept."
    if error.filename in (OUTPUT, ERRORS):
        return (
            f"{error.filename} can't be written: {error.strerror}. Send it to another file or "
            f"terminal, then run again: what was finished is kept."
        )
    place = error.filename or folder
    where = f"{place}: " if place else ""
    return (
        f"{where}{error.strerror or error}. Free space, or choose other folders with "
        f"paths.outputs=... and paths.cache=...; then run again: what was finished is kept."
    )


def explained(error: Exception) -> str:
    """Return the fault with its cause, and the names near to a mistyped one."""
    if isinstance(error, OverrideParseException):
        return _unparsed(error)
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:  # OmegaConf's, traced, can be their own causes
        chain.append(cause)
        cause = cause.__cause__
    texts = map(str, chain)
    lines = list(dict.fromkeys(line for text in texts for line in text.splitlines() if line))
    noise = ("object_type", "Config search path", "provider=")
    message = "\n".join(line for line in lines if not line.lstrip().startswith(noise))
    absent = re.search(r"(?:find|load) '([^']+)'", message)
    for extra, choice in {"slurm": "staged_slurm", "joblib": "hydra/launcher/joblib"}.items():
        if absent is not None and choice in absent[1]:
            return f"{message}\nInstall it: pip install -c constraints.txt -e '.[{extra}]'"
    if "Could not override 'grading." in message:
        return (
            f"{message}\nThe dataset's own grader is set by dataset.grading.<name>.<setting>=...; "
            f"grading=[...] chooses others, which grading.<name>.<setting>=... then sets."
        )
    match = re.search(r"Key '([^']+)'|override '([^']+)'|(?:find|load) '([^']+)'", message)
    if match is None:
        return message
    wrong = next(group for group in match.groups() if group).rsplit("/", maxsplit=1)[-1]
    near = difflib.get_close_matches(wrong.rsplit(".", maxsplit=1)[-1], _known_names(), n=3)
    if not near:
        return message
    message = re.sub(r"^To append to your .*\n", "", message, flags=re.MULTILINE)  # a typo's advice
    return f"{message}\nNear names: {', '.join(near)}."


def _unparsed(error: OverrideParseException) -> str:
    """Return what a user reads about a setting whose signs Hydra takes for its own."""
    key, equals, value = error.override.partition("=")
    why = str(error.message).splitlines()[0]
    if not equals or not value.strip():
        return f"{error.override}: settings are written as key=value ({why})."
    told = f"{error.override}: Hydra, which reads the command line, can't read this ({why}). "
    if re.search(r"\s[\w.@/]+=", value):
        told += "If these are several settings, write each as an argument of its own. "
    if value[0] in "[{":
        told += "If it is a list, check its commas and brackets. "
    text = value.replace('"', '\\"')
    return f"{told}If it is a text, put it in quotes of both kinds: '{key}=\"{text}\"'"


def _known_names() -> list[str]:
    """Return every key of the schema, every group and every choice."""
    files = [path for folder in (CONF, *own_folders()) for path in folder.rglob("*.yaml")]
    names = {path.stem for path in files} | {path.parent.name for path in files}
    for path in files:
        names |= set(re.findall(r"^ *(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE))

    def keys(node: object) -> None:
        if (
            isinstance(node, DictConfig)
            and node._is_none()
            and is_dataclass(node._metadata.ref_type)
        ):
            node = OmegaConf.structured(node._metadata.ref_type)  # an optional part of the schema
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            for key in node:
                names.add(str(key))
                keys(node._get_node(key))

    keys(OmegaConf.structured(Config))
    return sorted(names - {"conf", "config"})
