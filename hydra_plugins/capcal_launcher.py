"""A launcher for SLURM that lets jobs hold accelerators only while they sample.

Hydra finds launchers in packages called ``hydra_plugins`` only, which is why this one is not among
the others of the harness. Without the package hydra-submitit-launcher there is none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

_OWN = {"submitit_folder", "max_num_timeout", "evaluation", "sampling_jobs"}


class StagedSlurmLauncher(Launcher):  # type: ignore[misc]
    """Submits each cell as jobs that sample, and a job that evaluates what they sampled.

    The job that evaluates waits in SLURM's queue until the cell's other jobs have ended well
    (``aftercorr``). It asks for its own resources, by default no accelerator. Where a job that
    samples fails, SLURM takes the job that waits for it out of the queue.

    Args:
        settings: the fields of ``StagedSlurmConf``.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings: dict[str, Any] = {
            name: OmegaConf.to_container(value, resolve=True)
            if OmegaConf.is_config(value)
            else value
            for name, value in settings.items()
        }

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what every job is made from."""
        from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

        self._sweep = Path(str(config.hydra.sweep.dir))
        self._job = _Job()
        self._job.runs = SlurmLauncher()  # it runs one job of Hydra's wherever it is called
        self._job.runs.setup(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit all jobs at once, and wait for them."""
        self._sweep.mkdir(parents=True, exist_ok=True)
        given = self._settings
        cells = [*enumerate(job_overrides, initial_job_idx)]
        resources = {name: given[name] for name in given.keys() - _OWN}
        sampling = [self._submit("sample", cells, resources) for _ in range(given["sampling_jobs"])]
        arrays = ",".join(f"aftercorr:{jobs[0].job_id.split('_')[0]}" for jobs in sampling)
        resources |= given["evaluation"]
        resources["additional_parameters"] = {
            **resources["additional_parameters"], "kill-on-invalid-dep": "yes"
        }  # fmt: skip
        resources["dependency"] = arrays
        evaluation = self._submit("evaluate", cells, resources)
        for jobs in [*sampling, evaluation]:
            for job in jobs:
                job.wait()
        return [job.results()[0] for job in evaluation if job.exception() is None]

    def _submit(
        self, phase: str, cells: Sequence[tuple[int, Sequence[str]]], resources: Mapping[str, Any]
    ) -> list[Any]:
        """Submit an array of jobs, one for each cell."""
        import submitit
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

        executor = submitit.AutoExecutor(
            folder=self._settings["submitit_folder"], cluster="slurm",
            slurm_max_num_timeout=self._settings["max_num_timeout"],
        )  # fmt: skip
        general = OmegaConf.structured(BaseQueueConf).keys()
        executor.update_parameters(
            **{name if name in general else f"slurm_{name}": v for name, v in resources.items()}
        )
        state = Singleton.get_state()
        runs = [
            ([*overrides, f"phase={phase}"], "hydra.sweep.dir", number, f"job_{number}", state)
            for number, overrides in cells
        ]
        return list(executor.map_array(self._job, *zip(*runs, strict=True)))


class _Job:
    """One job of Hydra's whose failure is a failure to SLURM, too: nothing may build on it."""

    runs: Any

    def __call__(self, *arguments: Any) -> JobReturn:
        ended: JobReturn = self.runs(*arguments)
        if not ended.return_value:  # which raises what the job raised
            raise RuntimeError("The job failed; its output says why.")
        return ended

    def checkpoint(self, *arguments: Any) -> Any:
        """Return what runs when the job is requeued: the same from the top."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *arguments)


if find_spec("hydra_plugins.hydra_submitit_launcher"):
    from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf

    @dataclass
    class StagedSlurmConf(SlurmQueueConf):  # type: ignore[misc]
        """What SLURM is asked for.

        Attributes:
            sampling_jobs: number of jobs that sample one cell at the same time.
            evaluation: settings in which the job that evaluates differs from those that sample.
        """

        _target_: str = f"{__name__}.{StagedSlurmLauncher.__name__}"
        sampling_jobs: int = 1
        evaluation: dict[str, Any] = field(default_factory=dict)

    ConfigStore.instance().store(
        group="hydra/launcher", name="staged_slurm", node=StagedSlurmConf, provider="capcal"
    )
