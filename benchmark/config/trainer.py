"""How Lightning trains what is trained by steps: the schema of ``conf/trainer``."""

from dataclasses import dataclass

from benchmark.config.rules import at_least, one_of, require

_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
_STRATEGIES = ("auto", "ddp_spawn", "ddp_fork")
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass
class TrainerConfig:
    """Arguments of ``lightning.pytorch.Trainer``, named as there.

    Attributes:
        accelerator: cpu, gpu, cuda or mps; auto takes an accelerator where there is one.
        devices: number of devices, at least 1; each takes its own questions of every epoch.
        strategy: auto for one device, ddp_spawn or ddp_fork for several. Plain ddp is refused: it
            would start the whole command again on every device.
        precision: 32-true, bf16-mixed or 16-mixed.
        max_epochs: largest number of passes over the training questions; a probe's ``patience``
            may end the training before.
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
        one_of(_ACCELERATORS, self, "trainer", "accelerator")
        one_of(_STRATEGIES, self, "trainer", "strategy")
        one_of(_PRECISIONS, self, "trainer", "precision")
        at_least(1, self, "trainer", "devices", "max_epochs")
        single = self.devices == 1 or self.strategy != "auto"
        rule = "1 with trainer.strategy=auto; for several devices choose trainer=ddp"
        require(single, "trainer.devices", self.devices, rule)

    @property
    def decisive(self) -> dict[str, object]:
        """Settings that decide the numbers of a probe, by name."""
        return {name: getattr(self, name) for name in ("devices", "precision", "max_epochs")}
