"""A finished run with its model: what a page shows that its small files do not hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustcmr.config.resolve import RunConfig, read_config, resolve
from robustcmr.data.base import DataSet, PairsSplit
from robustcmr.data.scenes import Scenes
from robustcmr.data.scenes.layout import SIDE
from robustcmr.evaluation.scoring import encode_split, ensemble_scores, score_matrix
from robustcmr.jobs.open import build_matchers
from robustcmr.matchers.base import Matcher
from robustcmr.matchers.omit import Omit
from robustcmr.methods.base import Method
from robustcmr.reporting.gallery import THUMB, Album, Alignment, Moved
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.base import Track
from robustcmr.tracks.build import build_track
from robustcmr.tracks.pairs import PairsTrack
from robustcmr.training.batches import step_ids
from robustcmr.training.checkpoint import load_modules, recover
from robustcmr.training.devices import build_accelerator
from robustcmr.training.scorer import TrainingSetScorer
from robustcmr.types import Division, EpochPlan, Fragments, Rematch

_PLACES = 3  # images shown of a rematching plan


@dataclass(frozen=True)
class OpenRun:
    """A run with the weights of its best epoch.

    Attributes:
        config: the resolved configuration.
        track: its data, with the truth.
        matchers: on ``device``.
        method: built on them.
        device: where to compute.
    """

    config: RunConfig
    track: Track
    matchers: Sequence[Matcher]
    method: Method
    device: torch.device

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, by name."""
        return {**_numbered(self.matchers), **self.method.auxiliary}


def open_track(run: RunFolder) -> tuple[RunConfig, Track]:
    """Read the configuration of a run and open its data.

    Raises:
        UserError: the configuration or the data do not fit any more.
    """
    config = resolve(read_config(run.config))
    return config, build_track(config, run)


def open_run(run: RunFolder, config: RunConfig, track: Track) -> OpenRun:
    """Build the matchers and the method of a run and load its best epoch.

    Args:
        run: its folder.
        config: its configuration.
        track: its data.

    Raises:
        UserError: a checkpoint is missing, or does not fit.
    """
    settings = config.settings
    accelerator = build_accelerator(settings.training.device, settings.training.precision)
    device = accelerator.device
    matchers = build_matchers(config, track, accelerator)
    make_method: Callable[..., Method] = config.method.cls
    method = make_method(
        config.method.options,
        matchers,
        len(track.training),
        settings.training.batch_size,
        *track.method_arguments(matchers, device),
    )
    bare = [accelerator.unwrap_model(matcher) for matcher in matchers]
    for network in method.auxiliary.values():
        network.to(device)
    recover(run.checkpoint("best"))
    load_modules(run.checkpoint("best"), {**_numbered(bare), **method.auxiliary})
    return OpenRun(config, track, bare, method, device)


def _numbered(matchers: Sequence[Matcher]) -> dict[str, nn.Module]:
    return {f"matcher_{number}": matcher for number, matcher in enumerate(matchers)}


def divided(run: OpenRun) -> tuple[EpochPlan, Division | None]:
    """Ask the method what it would do with the best epoch's weights, as it was asked when the run ended.

    Returns:
        Its plan of the last epoch, and what it believes; None where it holds no belief about pairs.
    """
    settings = run.config.settings
    scorer = TrainingSetScorer(
        run.track.training,
        settings.training.batch_size,
        run.device,
        settings.seed,
        settings.training.epochs,  # the shuffling that the end of the run used
    )
    plan = run.method.plan_epoch(settings.training.epochs - 1, scorer)
    belief = plan.estimate if plan.estimate is not None else run.method.estimate(scorer)
    return plan, belief if isinstance(belief, Division) else None


def rematched(
    run: OpenRun, track: PairsTrack, plan: EpochPlan, pairs: Sequence[int], album: Album
) -> dict[int, tuple[Moved, ...]]:
    """Rematching plans of some pairs, each in the batch it falls into in the last epoch, unaugmented.

    Args:
        run: with the best epoch's weights, which are the same afterwards.
        track: its data.
        plan: of the epoch.
        pairs: which pairs.
        album: pictures of the training images.

    Returns:
        By pair, images with their share of the mass moved to its caption, most first; an empty tuple where
        none was moved. Pairs that the batch did not rematch are left out.
    """
    settings = run.config.settings
    wanted, found = set(pairs), {}
    steps = step_ids(plan, settings.training.batch_size, settings.seed, settings.training.epochs - 1)
    weights = {
        name: {key: value.clone() for key, value in module.state_dict().items()}
        for name, module in run.modules.items()
    }
    for module in run.modules.values():
        module.eval()
    given = track.training.correspondence.image_of_caption
    for step in steps:
        here = wanted.intersection(*[np.concatenate(list(step.values())).tolist()])
        if not here:
            continue
        batches = {name: track.training.batch(ids).to(run.device) for name, ids in sorted(step.items())}
        rematch = run.method.training_step(batches).rematch
        for name, module in run.modules.items():  # a teacher moves at every step
            module.load_state_dict(weights[name])
        if rematch is None:
            continue
        captions = rematch.caption_pairs.tolist()
        for pair in here.intersection(captions):
            found[pair] = _moved(track, rematch, captions.index(pair), pair, given, album)
            wanted.discard(pair)
    return found


def _moved(
    track: PairsTrack,
    rematch: Rematch,
    column: int,
    pair: int,
    given: Any,
    album: Album,
) -> tuple[Moved, ...]:
    masses = rematch.plan[:, column].detach().float().cpu().numpy()  # (n,)
    total = float(masses.sum())
    if total <= 0:
        return ()
    by_image: dict[int, float] = {}
    for row, image in enumerate(given[rematch.image_pairs.cpu().numpy()].tolist()):
        by_image[image] = by_image.get(image, 0.0) + float(masses[row])
    best = sorted(by_image, key=lambda image: (-by_image[image], image))[:_PLACES]
    best = [image for image in best if by_image[image] > 0.001 * total]
    fits: list[bool | None] = [None] * len(best)
    if track.truth_is_known:
        fits = track.data.fits("train", pair, np.array(best, dtype=np.int64)).tolist()
    return tuple(
        Moved(album.shot(image, THUMB), by_image[image] / total, fit)
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


def scored(run: OpenRun, track: PairsTrack, split: str) -> Scored:
    """Score every image of a split with every caption."""
    matrices: list[Tensor] = []
    sides: list[Fragments] = []
    for member in track.members(run.matchers, split):
        images, texts = encode_split(
            member.matcher, member.image_batches(), member.text_batches(), run.device, torch.device("cpu")
        )
        matrices.append(score_matrix(member.matcher, images, texts, track.block_bytes))
        sides = sides or [images, texts]
    return Scored(ensemble_scores(matrices), *sides)


def aligned(
    run: OpenRun, track: PairsTrack, split: str, seen: Scored, captions: Sequence[int], album: Album
) -> list[Alignment]:
    """Plans between the regions of pictures and the words of their own captions, of an OMIT matcher.

    Args:
        run: with the best epoch's weights.
        track: its data.
        split: which split.
        seen: that split, encoded.
        captions: rows of captions.
        album: pictures of the split.

    Returns:
        One a caption; empty where the matcher makes no such plan.
    """
    matcher, opened = run.matchers[0], track.data.split(split)
    if not isinstance(matcher, Omit):
        return []
    found = []
    for row in captions:
        image = int(opened.image_of_caption[row])
        picture, text = (side[slice(at, at + 1)] for side, at in ((seen.images, image), (seen.texts, row)))
        with torch.no_grad():
            plan = matcher.plan(picture.to(run.device), text.to(run.device))[0].double().cpu()  # (R, W)
        kept = plan[picture.mask[0]][:, text.mask[0]].numpy()
        words = _words(track, opened.captions[row], kept.shape[1])
        boxes = region_boxes(track.data, opened, image)
        found.append(Alignment(opened.captions[row], words, kept, boxes, album.shot(image)))
    return found


def _words(track: PairsTrack, caption: str, count: int) -> tuple[str, ...]:
    """What each of the matcher's words stands for; numbers where the reader has no words."""
    (indices,) = track.reader.encode_many([caption])
    names = track.reader.words
    if not names:
        return tuple(f"piece {number}" for number in range(1, count + 1))
    return tuple(names[index] for index in indices[:count])


def region_boxes(data: DataSet, split: PairsSplit, image: int) -> Any:
    """Where the regions of an image lie.

    Returns:
        (R, 4) left, top, right, bottom as shares of the picture; None where the data does not tell.
    """
    if not isinstance(data, Scenes) or split.features is None:
        return None
    corners = split.features.take(np.array([image], dtype=np.int64))[0, :, -4:]  # (R, 4) in -1..1
    pixels = np.round((corners.astype(np.float64) + 1) * SIDE / 2)
    return pixels / SIDE
