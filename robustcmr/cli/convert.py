"""``robustcmr convert``: make a run folder of a network that other people's code trained and released."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustcmr.cli.options import AsJson, Overwrite, output, overrides, say, typed

if TYPE_CHECKING:
    from robustcmr.conversion.released import ConversionReport


def convert(
    file: Annotated[Path, typer.Argument(help="The released checkpoint, such as model_best.pth.tar.")],
    layout: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="LAYOUT",
            help="sgraf (SGRAF, NCR, DECL, L2RM: image, text and similarity encoder) or vse_infty (VSE "
            "infinity on region features with a bi-GRU).",
        ),
    ],
    data: Annotated[str, typer.Option(help="Data set it was trained on, such as f30k, coco or cc152k.")],
    data_root: Annotated[
        Path, typer.Option(help="Folder of the precomputed features and captions, such as f30k_precomp.")
    ],
    vocabulary: Annotated[
        Path,
        typer.Option(
            help="Vocabulary JSON it was trained with, such as f30k_precomp_vocab.json; one word per row of "
            "its embedding."
        ),
    ],
    target: Annotated[Path, output("Run folder to create.")],
    network: Annotated[
        str | None, typer.Option(help="A or B, if the file holds two networks trained together.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Skip keys with no place here, instead of refusing the file.")
    ] = False,
    settings: Annotated[
        list[str] | None, overrides("Set a key of data, evaluation or training, as for 'train'.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Turn a released checkpoint into a run folder that 'robustcmr eval' measures.

    You need three things that come with released code: the checkpoint, the
    folder of precomputed features and captions (train and the splits to
    measure), and the vocabulary JSON. Nothing in the checkpoint is executed:
    a file that holds more than tensors, plain values and options is refused.

    The run folder cannot be trained further. For an ensemble, convert each
    network and name all run folders: robustcmr eval runs/sgr runs/saf.

    Examples (each on one line):
      robustcmr convert model_best.pth.tar --from sgraf --data f30k
        --data-root f30k_precomp --vocabulary vocab.json -o runs/sgr
      robustcmr convert NCR.pth.tar --from sgraf --network A --data f30k
        --data-root f30k_precomp --vocabulary vocab.json -o runs/ncr-a
    """
    from robustcmr.cli.output import print_json
    from robustcmr.conversion.released import convert as convert_file

    report = convert_file(
        file,
        layout,
        {"name": data, "root": str(data_root)},
        vocabulary,
        target,
        network=network,
        partial=partial,
        overwrite=overwrite,
        overrides=settings or (),
    )
    if as_json:
        print_json(report.to_dict())
    else:
        _print_report(report)


def _print_report(report: ConversionReport) -> None:
    from robustcmr.conversion.released import n_keys

    sizes = ", ".join(f"{name} {value}" for name, value in report.sizes.items())
    network = "" if report.network is None else f", network {report.network}"
    lines = [f"{report.matcher}{network}: {sizes}"]
    if report.claims:
        claims = ", ".join(f"{name} {value}" for name, value in report.claims.items())
        lines.append(f"the file says, unchecked: {claims}")
    lines.append(f"the vocabulary knows {report.known_words:.1%} of the words of the first training captions")
    lines.append(f"{n_keys(len(report.renamed))} mapped")
    for count, what, rows in (
        (len(report.folded), "folded", [f"{key} into {ours}" for key, ours in report.folded.items()]),
        (
            len(report.without_effect),
            "without effect on a score",
            [f"{key} ({why})" for key, why in report.without_effect.items()],
        ),
        (len(report.without_place), "without a place, left out", report.without_place),
    ):
        lines.append(f"{n_keys(count)} {what}{':' if rows else ''}")
        lines.extend(f"  {row}" for row in rows)
    lines.append(f"saved in {report.run}; measure it: robustcmr eval {typed(report.run)} --split test")
    say(*lines)
