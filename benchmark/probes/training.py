"""Trains probes by steps, with Lightning's trainer as ``conf/trainer`` sets it."""

import logging
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from benchmark.config.schema import WANDB_SETTINGS
from benchmark.config.trainer import TrainerConfig
from benchmark.errors import ConfigError
from benchmark.probes.data import ProbeData
from benchmark.probes.module import ProbeModule
from benchmark.probes.settings import ByLightning

_CHECKPOINT = "last.ckpt"
# Here, since the processes of further devices import this, too.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", module="lightning")  # advice on workers and the like


def make_trainer(
    config: TrainerConfig, folder: Path | None = None, logger: WandbLogger | None = None
) -> Trainer:
    """Return Lightning's trainer.

    Args:
        config: its settings.
        folder: of the checkpoint that a killed training goes on from; None for no checkpoint.
        logger: what gets losses and scores; None for nothing.

    Raises:
        ConfigError: this machine doesn't have the devices.
    """
    stop = EarlyStopping(
        "training_probes", mode="min", patience=config.max_epochs, stopping_threshold=0.5
    )
    keep = ModelCheckpoint(
        folder, Path(_CHECKPOINT).stem, enable_version_counter=False, save_on_train_epoch_end=True
    )
    try:
        return Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            strategy=config.strategy,
            precision=config.precision,
            max_epochs=config.max_epochs,
            logger=logger or False,
            enable_progress_bar=config.enable_progress_bar,
            enable_model_summary=False,
            enable_checkpointing=folder is not None,
            callbacks=[stop, *([keep] if folder else [])],
            default_root_dir=folder or tempfile.gettempdir(),
            num_sanity_val_steps=0,  # a probe would count it as an epoch
            use_distributed_sampler=False,  # each device chooses epochs on the whole split
            # A SLURM job is one process of the harness; what it starts are not SLURM's tasks.
            plugins=LightningEnvironment(),
        )
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {error}") from error


def fit(module: ProbeModule, data: ProbeData, how: ByLightning) -> None:
    """Train the module, from the checkpoint in ``how.folder`` on where there is one.

    Raises:
        KeyboardInterrupt: at Ctrl-C.
    """
    logger = _logger(how)
    trainer = make_trainer(how.trainer, how.folder, logger)
    with _ended_by_signals():
        trainer.fit(module, datamodule=data, ckpt_path=_checkpoint(how.folder), weights_only=True)
    if logger:
        logger.experiment.finish()


def _logger(how: ByLightning) -> WandbLogger | None:
    """Return what logs losses and scores where the tracker is on; W&B's run stays offline."""
    if how.tracker.kind != "wandb" or not how.trainer.logger or how.folder is None:
        return None
    import wandb  # here, so that tracker=none never loads it

    return WandbLogger(
        name=how.folder.name,
        save_dir=how.folder,
        offline=True,
        project=how.tracker.project,
        entity=how.tracker.entity,
        group=how.group,
        job_type="probe",
        settings=wandb.Settings(**WANDB_SETTINGS),
    )


def _checkpoint(folder: Path | None) -> str | None:
    """Return the path of the checkpoint to go on from; None where none can be read."""
    path = folder / _CHECKPOINT if folder else None
    if path is None or not path.is_file():
        return None
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # noqa: BLE001 - whatever damage did: the training starts again
        return None
    return str(path)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM end the process at once, and Ctrl-C raise KeyboardInterrupt.

    Lightning notes a SIGTERM and trains on, but calls the handler that it finds. At Ctrl-C it
    raises SystemExit and ignores further ones.
    """
    handler = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    own = main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if own:
        signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except SystemExit as stop:
        if main:
            signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from stop
    finally:
        if own:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
