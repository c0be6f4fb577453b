"""What several commands take, each with its help and the range that is told of before a model is loaded."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from textvae import config

Run = Annotated[str, Parameter(help="The run's folder, or user/model on the hub.")]

Corpus = Annotated[str | None, Parameter(help="As for `textvae train`; by default the corpus the run was trained on.")]

Split = Annotated[config.Split, Parameter(help="Which split, or all lines (of a file that the model was not trained on, say).")]

Texts = Annotated[str, Parameter(help="A file of texts, or - for what is piped in.", allow_leading_hyphen=True)]

Column = Annotated[str | None, Parameter(help="The column of a .csv/.tsv/.jsonl/.parquet file that holds the text.")]

ImportanceSamples = Annotated[int, Parameter(help="Samples of z a line.", validator=Number(gte=1))]

Seed = Annotated[int, Parameter(help="Of what is drawn: the same seed gives the same results.", validator=Number(gte=0, lt=2**63))]

Beams = Annotated[int, Parameter(help="Search for the most likely string with this many beams.", validator=Number(gte=1))]

Device = Annotated[config.Device, Parameter(help="Where to compute: cpu, or cuda for a GPU.")]

Json = Annotated[bool, Parameter(help="Print JSON.")]
