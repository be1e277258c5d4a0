"""What a page shows that the small files of a run do not hold: plans, scores and pictures of its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcmr.data.base import DataSet, PairsSplit, TextReader
from robustcmr.data.scenes import Scenes
from robustcmr.data.scenes.layout import SIDE
from robustcmr.evaluation.scoring import encode_split, score_matrix
from robustcmr.jobs.open import OpenRun
from robustcmr.matchers.omit import Omit
from robustcmr.methods.base import Method
from robustcmr.reporting.cards import Alignment, Moved
from robustcmr.reporting.thumbnails import SMALL, Thumbnails
from robustcmr.tracks.base import Track
from robustcmr.training.batches import step_ids
from robustcmr.training.scorer import TrainingSetScorer
from robustcmr.types import Division, EpochPlan, Fragments, Rematch

_PLACES = 3  # images shown of a rematching plan


def divided(run: OpenRun) -> tuple[EpochPlan, Division | None]:
    """Return the plan of the last epoch and the division as at the end of the run, if any."""
    settings, method, scorer = run.config.settings, required(run.method), _scorer(run)
    plan = method.plan_epoch(settings.training.epochs - 1, scorer)
    estimate = plan.estimate if plan.estimate is not None else method.estimate(scorer)
    return plan, estimate if isinstance(estimate, Division) else None


def _scorer(run: OpenRun) -> TrainingSetScorer:
    settings = run.config.settings
    return TrainingSetScorer(
        run.track.training,
        settings.training.batch_size,
        run.device,
        settings.seed,
        settings.training.epochs,  # the shuffling that the end of the run used
    )


def required(method: Method | None) -> Method:
    """Return the method of a run opened with it."""
    if method is None:
        raise ValueError("the run was opened without its method; open it with method=True")
    return method


def rematched(
    run: OpenRun, plan: EpochPlan, pairs: Sequence[int], thumbnails: Thumbnails
) -> dict[int, tuple[Moved, ...]]:
    """Return what some captions were rematched with: drawn from the whole set, or moved within a batch.

    The latter is the plan of the pair's batch in the last epoch, unaugmented.

    Args:
        run: opened with its method; its weights are the same afterwards.
        plan: of the epoch.
        pairs: which pairs.
        thumbnails: pictures of the training images.

    Returns:
        By pair, images with their chance, or their share of the mass moved to its caption, most first; empty
        if none was moved. Pairs that the batch did not rematch are left out.
    """
    settings, method, track = run.config.settings, required(run.method), run.track
    sought = method.partners(np.array(pairs, dtype=np.int64), _scorer(run))
    if sought is not None:
        shares = zip(pairs, *(side.tolist() for side in sought), strict=True)
        return {
            pair: _shown(track, pair, dict(zip(images, chances, strict=True)), thumbnails)
            for pair, images, chances in shares
        }
    wanted, found = set(pairs), {}
    steps = step_ids(plan, settings.training.batch_size, settings.seed, settings.training.epochs - 1)
    weights = {
        name: {key: value.clone() for key, value in module.state_dict().items()}
        for name, module in run.modules.items()
    }
    for module in run.modules.values():
        module.eval()
    given = None if track.pairing is None else track.pairing.image_of_caption
    for step in steps:
        here = wanted.intersection(*[np.concatenate(list(step.values())).tolist()])
        if not here:
            continue
        batches = {name: track.training.batch(ids).to(run.device) for name, ids in sorted(step.items())}
        rematch = method.training_step(batches).rematch
        for name, module in run.modules.items():  # a teacher moves at every step
            module.load_state_dict(weights[name])
        if rematch is None or given is None:
            continue
        captions = rematch.caption_pairs.tolist()
        for pair in here.intersection(captions):
            found[pair] = _moved(track, rematch, captions.index(pair), pair, given, thumbnails)
            wanted.discard(pair)
    return found


def _moved(
    track: Track, rematch: Rematch, column: int, pair: int, given: Any, thumbnails: Thumbnails
) -> tuple[Moved, ...]:
    masses = rematch.plan[:, column].detach().float().cpu().numpy()  # (n,)
    by_image: dict[int, float] = {}
    for row, image in enumerate(given[rematch.image_pairs.cpu().numpy()].tolist()):
        by_image[image] = by_image.get(image, 0.0) + float(masses[row])
    return _shown(track, pair, by_image, thumbnails)


def _shown(track: Track, pair: int, by_image: dict[int, float], thumbnails: Thumbnails) -> tuple[Moved, ...]:
    """The images of a caption that have most, by what each has."""
    total = sum(by_image.values())
    if total <= 0:
        return ()
    best = sorted(by_image, key=lambda image: (-by_image[image], image))[:_PLACES]
    best = [image for image in best if by_image[image] > 0.001 * total]
    known = track.fits(pair, np.array(best, dtype=np.int64))
    fits: list[bool | None] = [None] * len(best) if known is None else known.tolist()
    return tuple(
        Moved(thumbnails.get(image, SMALL), by_image[image] / total, fit)
        for image, fit in zip(best, fits, strict=True)
    )


@dataclass(frozen=True)
class Scored:
    """A split as the run's matchers see it.

    Attributes:
        scores: (n_images, n_captions) float32 on the CPU, the mean of the matchers'.
        images: as the first matcher encodes them.
        texts: the same of captions.
    """

    scores: Tensor
    images: Fragments
    texts: Fragments


def scored(run: OpenRun, split: str) -> Scored:
    """Score every image of a split with every caption."""
    matrices: list[Tensor] = []
    sides: list[Fragments] = []
    for member in run.track.members(run.matchers, split):
        images, texts = encode_split(
            member.matcher, member.image_batches(), member.text_batches(), run.device, torch.device("cpu")
        )
        matrices.append(score_matrix(member.matcher, images, texts, run.track.block_bytes))
        sides = sides or [images, texts]
    return Scored(sum(matrices[1:], matrices[0]) / len(matrices), *sides)


def aligned(
    run: OpenRun, split: PairsSplit, seen: Scored, captions: Sequence[int], thumbnails: Thumbnails
) -> list[Alignment]:
    """Return plans between regions and words of captions with their own pictures; empty unless OMIT.

    Args:
        run: with the best epoch's weights.
        split: a split of its data.
        seen: that split, encoded.
        captions: rows of captions.
        thumbnails: pictures of the split.
    """
    matcher = run.matchers[0]
    if not isinstance(matcher, Omit):
        return []
    found = []
    for row in captions:
        image = int(split.image_of_caption[row])
        picture, text = (side[slice(at, at + 1)] for side, at in ((seen.images, image), (seen.texts, row)))
        with torch.no_grad():
            plan = matcher.plan(picture.to(run.device), text.to(run.device))[0].double().cpu()  # (R, W)
        kept = plan[picture.mask[0]][:, text.mask[0]].numpy()
        words = _words(run.track.reader, split.captions[row], kept.shape[1])
        boxes = region_boxes(run.track.data, split, image)
        found.append(Alignment(split.captions[row], words, kept, boxes, thumbnails.get(image)))
    return found


def _words(reader: TextReader | None, caption: str, count: int) -> tuple[str, ...]:
    """The caption's words as the matcher reads them; numbers if its reader has no words."""
    names = () if reader is None else reader.words
    if reader is None or not names:
        return tuple(f"piece {number}" for number in range(1, count + 1))
    (indices,) = reader.encode_many([caption])
    return tuple(names[index] for index in indices[:count])


def region_boxes(data: DataSet, split: PairsSplit, image: int) -> Any:
    """Return (R, 4) left, top, right, bottom of an image's regions as shares of it; None if unknown."""
    if not isinstance(data, Scenes) or split.features is None:
        return None
    corners = split.features.take(np.array([image], dtype=np.int64))[0, :, -4:]  # (R, 4) in -1..1
    pixels = np.round((corners.astype(np.float64) + 1) * SIDE / 2)
    return pixels / SIDE
