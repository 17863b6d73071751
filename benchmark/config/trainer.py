"""How Lightning trains what is trained by steps: the schema of ``conf/trainer``."""

from dataclasses import dataclass

from benchmark.errors import ConfigError

_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
_STRATEGIES = ("auto", "ddp_spawn", "ddp_fork")
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass
class TrainerConfig:
    """Arguments of ``lightning.pytorch.Trainer``, named as there.

    Attributes:
        accelerator: auto takes an accelerator where there is one; or cpu, gpu, cuda, mps.
        devices: number of them; each takes its own questions of every epoch.
        strategy: auto for one device, ddp_spawn or ddp_fork for several. Plain ddp is refused: it
            would start the whole command again on every device.
        precision: 32-true, bf16-mixed or 16-mixed.
        max_epochs: passes over the training questions; ``patience`` of a probe may end it before.
        logger: whether losses and scores go to W&B, where the tracker is on.
        enable_progress_bar: whether Lightning's bar is shown.

    Raises:
        ConfigError: a value that is none of these.
    """

    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    max_epochs: int = 100
    logger: bool = True
    enable_progress_bar: bool = False

    def __post_init__(self) -> None:
        """Refuse what Lightning, or the harness under it, can't do."""
        for name, allowed in (
            ("accelerator", _ACCELERATORS),
            ("strategy", _STRATEGIES),
            ("precision", _PRECISIONS),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"trainer.{name}={getattr(self, name)} must be one of {list(allowed)}."
                )
        for name in ("devices", "max_epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"trainer.{name}={getattr(self, name)} must be at least 1.")
        if self.devices > 1 and self.strategy == "auto":
            raise ConfigError(
                f"trainer.devices={self.devices} needs trainer.strategy=ddp_spawn, which starts "
                f"the training alone on every device, or choose trainer=ddp."
            )

    @property
    def decisive(self) -> dict[str, object]:
        """What of it decides the numbers of a probe."""
        return {
            "devices": self.devices,
            "precision": self.precision,
            "max_epochs": self.max_epochs,
        }
