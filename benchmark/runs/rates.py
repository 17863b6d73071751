"""How fast an accelerator runs each model: as ``conf/rates`` says, or as it was measured here.

``capcal calibrate-rate`` measures, and writes ``rates.csv`` into the outputs' folder; a row in it
stands above that of ``conf/rates``.
"""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from benchmark.config.composing import CONF
from benchmark.errors import ConfigError, DataError

PACKAGED = CONF / "rates" / "rates.csv"
MEASURED = "rates.csv"  # in the folder of outputs


class Rate(NamedTuple):
    """What one accelerator does with a model, and the model's size.

    Attributes:
        prompt_tokens_per_second: prompt tokens that are read in a second, all requests together.
        output_tokens_per_second: tokens that are generated in a second, all requests together.
        layers: number of layers, without the embedding.
        width: size of a hidden state.
        source: "assumed" with what for, or "measured" with when and on what.
    """

    prompt_tokens_per_second: float
    output_tokens_per_second: float
    layers: int | None
    width: int | None
    source: str

    def hours(self, prompt_tokens: float, output_tokens: float) -> float:
        """Return how long one accelerator takes for tokens, in hours."""
        reading = prompt_tokens / self.prompt_tokens_per_second
        return (reading + output_tokens / self.output_tokens_per_second) / 3600

    def state_bytes(self, step: int, number_bytes: int) -> float | None:
        """Return the bytes of the hidden states of a prompt; None where the size is unknown.

        Args:
            step: every which layer is kept, from the embedding on.
            number_bytes: bytes of a number, 2 in half precision.
        """
        if self.layers is None or self.width is None:
            return None
        return (1 + self.layers // step) * self.width * number_bytes


SCHEMA = pl.Schema(
    {
        "model": pl.String(),
        "prompt_tokens_per_second": pl.Float64(),
        "output_tokens_per_second": pl.Float64(),
        "layers": pl.Int64(),
        "width": pl.Int64(),
        "source": pl.String(),
    }
)


def read_rates(outputs: Path) -> dict[str, Rate]:
    """Return the rate of each model that has one, by name; a measured one stands above another.

    Args:
        outputs: folder where measured rates are kept.

    Raises:
        DataError: a table that is no table of rates, naming file and fault.
    """
    rates: dict[str, Rate] = {}
    for path in (PACKAGED, outputs / MEASURED):
        if path.exists():
            rates |= {model: Rate(*row) for model, *row in _read(path).iter_rows()}
    return rates


def write_rate(outputs: Path, model: str, rate: Rate) -> Path:
    """Write a measured rate in place of an earlier one of the model, and return the file."""
    path = outputs / MEASURED
    earlier = _read(path).filter(pl.col("model") != model) if path.exists() else SCHEMA.to_frame()
    row = pl.DataFrame([(model, *rate)], schema=SCHEMA, orient="row")
    outputs.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    pl.concat([earlier, row]).write_csv(aside)
    aside.replace(path)
    return path


def _read(path: Path) -> pl.DataFrame:
    try:
        table = pl.read_csv(path, schema=SCHEMA, glob=False)
    except pl.exceptions.PolarsError as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path} is no table of rates with columns {[*SCHEMA]}: {first}") from error
    for row in table.iter_rows(named=True):
        for name in ("prompt_tokens_per_second", "output_tokens_per_second"):
            if row[name] is None or not 0 < row[name] < float("inf"):
                raise ConfigError(
                    f"{path}: {name} of {row['model']} is {row[name]}; it must be above 0 and "
                    f"finite. Mend the row, or measure it with capcal calibrate-rate."
                )
    return table
