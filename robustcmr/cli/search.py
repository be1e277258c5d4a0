"""``robustcmr search``: the images that fit a caption best, or the captions that fit an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustcmr.cli.options import AsJson, Trust, say, table_console


def search(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    text: Annotated[str | None, typer.Argument(help="Caption to find images for.")] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Image to find captions for: a picture, or a .npy file where features are read."),
    ] = None,
    k: Annotated[int, typer.Option("--top", "-k", min=1, help="Most answers to show.")] = 10,
    among: Annotated[
        Path | None,
        typer.Option(
            help="What to search: a folder of 'robustcmr embed', a folder or file of images, or a file of "
            "captions; the run's test split by default."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Another split of the run's data to search.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    trusted: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Find the images that fit a caption best, or the captions that fit an image.

    Examples:
      robustcmr search runs/a "a red star"
      robustcmr search runs/a "a red star" --among vectors -k 20 --json
    """
    from robustcmr.cli.output import print_json
    from robustcmr.jobs.trained import TrainedRun

    with TrainedRun(run, device, trusted=trusted) as opened:
        hits = opened.search(text, image=image, k=k, among=among, split=split)
    if as_json:
        print_json({"run": str(run), **hits.values()})
        return
    table_console().print(hits.table())
    say(hits.title, *hits.notes)
