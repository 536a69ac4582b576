"""Arguments and options that several verbs take. Words of the library are repeated, so that --help needs no torch."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Catalogue name, model folder or Hugging Face hub id.")]
OutFile = Annotated[Path, typer.Option(metavar="FILE", help="File to write.")]
OutFolder = Annotated[Path, typer.Option(metavar="FOLDER", help="Model folder to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is already at --out.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and no progress.")]
Data = Annotated[str, typer.Option(help="scenes, easy-vqa, or a LLaVA instruction .json file.")]
Images = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where that file's images are.")]
Seed = Annotated[int, typer.Option(help="Of every random choice.")]
Share = Annotated[float, typer.Option(help="Share of the language backbone to remove.")]
# The library's own words; a test compares them.
Style = Annotated[Literal["repaired", "paper"], typer.Option(help="Repaired computation, or as published.")]
Taylor = Annotated[Literal["weights", "activations"], typer.Option(help="Eq. 4 as published, or its cheaper form.")]
Unit = Annotated[
    Literal["taylor", "taylor-sum", "activation", "magnitude", "random", "image", "text", "balanced"],
    typer.Option(help="Ranks heads and neurons; the last three are for scores made with --balanced."),
]
Suite = Annotated[
    Literal["scenes", "scenes-unseen-style", "skills", "skills-unseen-style", "gallery", "easy-vqa"],
    typer.Option(help="Held-out questions: the paper's nine kinds, each skill by itself, or easy-VQA's."),
]
