"""``robustcmr embed``: images and captions as vectors in a folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from robustcmr.cli.options import AsJson, Trust, output, say


def embed(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    target: Annotated[Path, output("Folder for the vectors.")],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of images, or one file: pictures, or .npy files where features are read."),
    ] = None,
    captions: Annotated[Path | None, typer.Option(help="Text file of captions, one a line.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images or captions encoded at once.")] = 256,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace vectors in the folder.")] = False,
    trusted: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Embed images and captions with a trained model; memory does not grow with their number.

    Writes images.npy and texts.npy, one float32 row each, with their names in images.txt and texts.txt.

    Examples:
      robustcmr embed runs/a --captions FILE -o vectors
      robustcmr embed runs/a --images DIR --captions FILE -o vectors/
    """
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from robustcmr.cli.output import print_json
    from robustcmr.errors import ConfigError
    from robustcmr.jobs.trained import TrainedRun
    from robustcmr.terminal import Console

    if images is None and captions is None:
        raise ConfigError("there is nothing to embed; name --images DIR, --captions FILE, or both")
    written = {}
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with TrainedRun(run, device, batch_size, trusted=trusted) as opened, bar:
        for kind, given in (("images", images), ("texts", captions)):
            if given is None:
                continue
            task = bar.add_task(kind, total=None)
            embed_all = opened.embed_images if kind == "images" else opened.embed_texts
            made = embed_all(given, output=target, overwrite=overwrite, progress=partial(bar.advance, task))
            written[kind] = {
                "file": str(target / f"{kind}.npy"),
                "count": len(made),
                "width": made.vectors.shape[1],
            }
    if as_json:
        print_json({"run": str(run), **written})
        return
    for kind, values in written.items():
        say(f"wrote {values['file']}: {values['count']:,} {kind}, {values['width']} numbers each")
