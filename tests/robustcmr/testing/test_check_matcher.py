"""The conformance kit for matchers: built-ins pass, and every check catches the fault it is there for."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustcmr.errors import ConfigError, PluginError
from robustcmr.matchers.base import Backbone, Matcher
from robustcmr.options import Options
from robustcmr.testing import MATCHER_CHECKS, ConformanceError, check_matcher, sample_spec
from robustcmr.testing.samples import SampleMatcher, SampleOptions
from robustcmr.training.seeds import capture_generators
from robustcmr.types import Fragments, ImageBatch, MatcherInputs


class Sound(SampleMatcher):
    """Keeps the contract; what follows breaks one rule of it each."""

    def parameter_groups(self):
        return Matcher.parameter_groups(self)


class NotBuilt(Sound):
    def __init__(self, config, spec):
        raise RuntimeError("out of clay")


class OddInputs(Sound):
    @classmethod
    def inputs(cls, config):
        return {"tokenizer": None}


class ReadsPictures(Sound):
    @classmethod
    def inputs(cls, config):
        return MatcherInputs(image_processor="somewhere")


class FloatMask(Sound):
    def encode_images(self, images):
        found = super().encode_images(images)
        return Fragments(found.features, found.mask.float(), found.pooled)


class WrongWay(Sound):
    def score(self, images, texts):
        return super().score(images, texts).T


class WholeScores(Sound):
    def score(self, images, texts):
        return super().score(images, texts).round().long()


class NoFragments(Sound):
    def encode_texts(self, texts):
        return super().encode_texts(texts).features


class FlatFragments(Sound):
    def encode_texts(self, texts):
        found = super().encode_texts(texts)
        return Fragments(found.features.sum(1), found.mask)


class NothingReal(Sound):
    def encode_texts(self, texts):
        found = super().encode_texts(texts)
        return Fragments(found.features, torch.zeros_like(found.mask), found.pooled)


class WidePooled(Sound):
    def encode_texts(self, texts):
        found = super().encode_texts(texts)
        return Fragments(found.features, found.mask, found.pooled.repeat(1, 2))


class SometimesPooled(Sound):
    def encode_images(self, images):
        found = super().encode_images(images)
        return found if len(images) > 1 else Fragments(found.features, found.mask)

    def score(self, images, texts):
        if images.pooled is None:
            images = Fragments(images.features, images.mask, images.features.sum(1))
        return super().score(images, texts)


class OtherForward(Sound):
    def forward(self, images, texts):
        return 2 * super().forward(images, texts)


class FlatForward(Sound):
    def forward(self, images, texts):
        return super().forward(images, texts).diagonal()


class Logits(Sound):
    def score(self, images, texts):
        return 100 * super().score(images, texts)


class BareImage(Sound):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.image = nn.Linear(spec.feature_width, config.dim, bias=False)


class MeanOfPadding(Sound):
    def encode_texts(self, texts):
        words = self.word(texts.tokens)
        features = words * texts.mask.unsqueeze(-1)
        return Fragments(features, texts.mask, features.mean(1) + 0.1)


class ReadsPadding(BareImage):
    def encode_images(self, images):
        features = self.image(images.features)
        return Fragments(features, images.mask, features.sum(1))


class ReadsPaddedWords(Sound):
    def encode_texts(self, texts):
        found = super().encode_texts(texts)
        odd = texts.tokens[:, -1:] % 2 * ~texts.mask[:, -1:]
        return Fragments(found.features, found.mask, found.pooled + odd)


class IgnoresMask(Sound):
    def score(self, images, texts):
        return F.normalize(images.features.sum(1), dim=-1) @ F.normalize(texts.features.sum(1), dim=-1).T


class Positions(Sound):
    def score(self, images, texts):
        found = super().score(images, texts)
        return found + 0.1 * torch.arange(len(images)).unsqueeze(1)


class BatchMean(Sound):
    def encode_texts(self, texts):
        found = super().encode_texts(texts)
        return Fragments(found.features, found.mask, found.pooled - 0.5 * found.pooled.mean(0))


class RowMean(Sound):
    def score(self, images, texts):
        found = super().score(images, texts)
        return found - 0.5 * found.mean(1, keepdim=True)


class DivideByZero(BareImage):
    def score(self, images, texts):
        left = images.pooled / images.pooled.norm(dim=-1, keepdim=True)
        return left @ F.normalize(texts.pooled, dim=-1).T


class Sharp(Sound):
    def score(self, images, texts):
        return torch.sin(100 * super().score(images, texts))


class Extra(Sound):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.extra = nn.Parameter(torch.zeros(1))


class NoGradient(Extra):
    pass


class ZeroGradient(Extra):
    def score(self, images, texts):
        return super().score(images, texts) + 0 * self.extra


class NotFinite(Extra):
    def score(self, images, texts):
        return super().score(images, texts) + (0 * self.extra).sqrt()


class LeavesOut(Sound):
    def parameter_groups(self):
        return [{"params": list(self.image.parameters()), "lr_factor": 1.0}]


class Twice(Sound):
    def parameter_groups(self):
        return super().parameter_groups() * 2


class WholeFactor(Sound):
    def parameter_groups(self):
        return [{"params": list(self.parameters()), "lr_factor": 1}]


class Foreign(Sound):
    def parameter_groups(self):
        return [*super().parameter_groups(), {"params": [nn.Parameter(torch.ones(1))], "lr_factor": 1.0}]


class NotSaved(Sound):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.turn = torch.randn(config.dim, config.dim)

    def encode_images(self, images):
        found = super().encode_images(images)
        return Fragments(found.features, found.mask, found.pooled @ self.turn)


class SharesCopy(Sound):
    def __deepcopy__(self, memo):
        return self


class OtherCopy(Sound):
    def __deepcopy__(self, memo):
        return type(self)(SampleOptions(), sample_spec()).eval()


class Restless(Sound):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.chance = np.random.default_rng(0)

    def score(self, images, texts):
        return super().score(images, texts) + 2e-5 * self.chance.random()


class Counts(Sound):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.seen = 0

    def score(self, images, texts):
        self.seen += self.training
        return super().score(images, texts) + 0.01 * self.seen


class CountsCalls(Sound):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.register_buffer("calls", torch.zeros(()))

    def encode_images(self, images):
        self.calls += 1
        return super().encode_images(images)


class WakesUp(Sound):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.idle = nn.Identity()

    def encode_images(self, images):
        self.idle.train()
        return super().encode_images(images)


class DrawsTorch(Sound):
    def encode_images(self, images):
        torch.rand(1)
        return super().encode_images(images)


class DrawsNumpy(Sound):
    def encode_texts(self, texts):
        np.random.random()  # noqa: NPY002
        return super().encode_texts(texts)


class DrawsPython(Sound):
    def score(self, images, texts):
        random.random()
        return super().score(images, texts)


class FillsInput(Sound):
    def encode_images(self, images):
        images.features.masked_fill_(~images.mask.unsqueeze(-1), 7.0)
        return super().encode_images(images)


class FillsFragments(Sound):
    def score(self, images, texts):
        images.features.masked_fill_(~images.mask.unsqueeze(-1), 7.0)
        return super().score(images, texts)


class LazyCache(Sound):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.cache = None

    def encode_texts(self, texts):
        found = super().encode_texts(texts)
        if self.cache is None:
            self.cache = torch.ones(found.pooled.shape[1])
        return Fragments(found.features, found.mask, found.pooled * self.cache)


BROKEN = [
    (NotBuilt, {"builds"}, "out of clay"),
    (OddInputs, {"inputs"}, "inputs(config) returned a dict"),
    (FloatMask, {"shapes"}, "encode_images returned a mask (5, 5) of torch.float32"),
    (WrongWay, {"shapes"}, "score returned (6, 5) for 5 images and 6 captions"),
    (WholeScores, {"shapes"}, "score returned torch.int64"),
    (NoFragments, {"shapes"}, "encode_texts returned a Tensor"),
    (FlatFragments, {"shapes"}, "encode_texts returned features (6, 16) of torch.float32 for 6 items"),
    (NothingReal, {"shapes"}, "encode_texts returned an item without any real fragment"),
    (WidePooled, {"shapes"}, "encode_texts returned pooled (6, 32) for features (6, 7, 16)"),
    (SometimesPooled, {"shapes"}, "encode_images gave a pooled vector for some batches"),
    (OtherForward, {"forward"}, "matcher(images, texts) differed"),
    (FlatForward, {"forward"}, "differed from score(encode_images, encode_texts) by up to inf"),
    (Logits, {"scale"}, "a score of ordinary data was"),
    (MeanOfPadding, {"input_padding"}, "with 2 more padded words a caption"),
    (ReadsPadding, {"padded_garbage"}, "other numbers in masked regions"),
    (ReadsPaddedWords, {"padded_garbage"}, "other words in masked places"),
    (IgnoresMask, {"fragment_padding"}, "masked fragments of other numbers appended to the captions"),
    (Positions, {"order", "blocks"}, "with the images in another order"),
    (BatchMean, {"independence"}, "with every caption encoded alone"),
    (RowMean, {"blocks"}, "scored as every caption alone"),
    (DivideByZero, {"extremes"}, "with features that are all zero, 30 of 30 scores were not finite"),
    (Sharp, {"bf16"}, "under bfloat16 autocast scores moved"),
    (NoGradient, {"gradients"}, "no gradient reached extra"),
    (ZeroGradient, {"gradients"}, "the gradient of extra was all zero"),
    (NotFinite, {"gradients"}, "the gradient of extra was not finite"),
    (LeavesOut, {"parameter_groups"}, "the groups leave out word.weight"),
    (Twice, {"parameter_groups"}, "more than once"),
    (WholeFactor, {"parameter_groups"}, "group 0 has lr_factor 1, expected a float"),
    (Foreign, {"parameter_groups"}, "the groups hold 1 tensors that are not trainable parameters"),
    (NotSaved, {"saving"}, "after saving and loading, scores moved"),
    (SharesCopy, {"copying"}, "the original's scores moved"),
    (OtherCopy, {"copying"}, "scores of a deep copy differed"),
    (Restless, {"repeatability"}, "a second call with the same input gave other scores"),
    (Counts, {"hidden_state"}, "after training calls and loading the old state_dict"),
    (CountsCalls, {"evaluation_state"}, "scoring in evaluation mode changed calls"),
    (WakesUp, {"evaluation_state"}, "switched a submodule to training mode"),
    (DrawsTorch, {"generators"}, "the global generator of torch"),
    (DrawsNumpy, {"generators"}, "the global generator of numpy"),
    (DrawsPython, {"generators"}, "the global generator of python"),
    (FillsInput, {"inputs_untouched"}, "encoding in evaluation mode changed ImageBatch.features in place"),
    (FillsFragments, {"inputs_untouched"}, "score in training mode changed Fragments.features"),
    (LazyCache, {"inference_mode"}, "Inference tensors cannot be saved for backward"),
]


@pytest.mark.parametrize(("cls", "names", "said"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_rule_is_named(cls, names, said):
    with pytest.raises(ConformanceError) as caught:
        check_matcher(cls)
    assert set(caught.value.broken) == names
    assert said in str(caught.value)
    assert all(f"- {name}: " in str(caught.value) for name in names)
    assert "the contract says: " in str(caught.value)


def test_every_check_is_shown_to_catch_something():
    assert set(MATCHER_CHECKS) == {name for _, names, _ in BROKEN for name in names}


def test_a_sound_matcher_passes_every_check():
    report = check_matcher(Sound)
    assert report.passed == tuple(MATCHER_CHECKS)
    assert (report.not_applicable, report.skipped) == ({}, ())


class Pixels(Sound):
    """Reads the mean colour of a picture, and one vector a caption."""

    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.vector = nn.Linear(spec.text_width, config.dim)

    @classmethod
    def inputs(cls, config):
        return MatcherInputs(image_processor="somewhere")

    def encode_images(self, images):
        colours = ImageBatch(images.features.mean((2, 3)).unsqueeze(1), images.mask)
        return super().encode_images(colours)

    def encode_texts(self, texts):
        found = super().encode_texts(texts)
        return Fragments(found.features, found.mask, found.pooled + self.vector(texts.vectors))


def test_pictures_and_caption_vectors():
    report = check_matcher(Pixels, spec=sample_spec(picture_size=(6, 4), text_width=5))
    assert report.passed == tuple(MATCHER_CHECKS)


def test_a_matcher_that_reads_its_own_way_needs_a_spec():
    with pytest.raises(ConfigError, match="give spec= with the size of the pictures"):
        check_matcher(ReadsPictures)
    with pytest.raises(ConformanceError, match="asks for pictures but it was checked with picture_size=None"):
        check_matcher(ReadsPictures, spec=sample_spec())


def test_inputs_are_names():
    class Numbered(Sound):
        @classmethod
        def inputs(cls, config):
            return MatcherInputs(tokenizer=3)

    with pytest.raises(ConformanceError, match=r"inputs\(config\)\.tokenizer is a int, not None or text"):
        check_matcher(Numbered, spec=sample_spec())


def test_a_frozen_backbone_is_left_out_of_training():
    class Frozen(Backbone):
        def __init__(self):
            super().__init__(lr_factor=0.0)
            self.weight = nn.Parameter(torch.ones(1))

        def load_pretrained(self):
            raise AssertionError("the kit loads no weights")

    class WithBackbone(Sound):
        def __init__(self, config, spec):
            super().__init__(config, spec)
            self.frozen = Frozen()

    check_matcher(WithBackbone)


def test_without_anything_to_train_the_gradients_do_not_apply():
    class Fixed(Sound):
        def __init__(self, config, spec):
            super().__init__(config, spec)
            self.requires_grad_(False)

    report = check_matcher(Fixed)
    assert report.not_applicable == {"gradients": "the matcher has nothing to train"}


def test_a_spec_without_room_to_pad():
    report = check_matcher(Sound, spec=replace(sample_spec(), n_regions=2, longest_caption=3))
    assert report.not_applicable == {"input_padding": "the spec leaves no room to pad"}


def test_weights_that_start_at_zero_may_hide_others_at_first():
    class Adapter(Sound):
        def __init__(self, config, spec):
            super().__init__(config, spec)
            self.down = nn.Linear(config.dim, 2, bias=False)
            self.up = nn.Linear(2, config.dim, bias=False)
            nn.init.zeros_(self.up.weight)

        def encode_images(self, images):
            found = super().encode_images(images)
            return Fragments(found.features, found.mask, found.pooled + self.up(self.down(found.pooled)))

    check_matcher(Adapter)


def test_tolerances_are_settable():
    check_matcher(Logits, largest_score=101.0)
    check_matcher(Sharp, bf16_tolerance=2.0)
    with pytest.raises(ConformanceError, match="saving"):
        check_matcher(NotSaved)
    check_matcher(NotSaved, tolerance=3.0)


def test_all_broken_rules_are_reported_at_once():
    class Hopeless(DrawsTorch, Counts):
        pass

    with pytest.raises(ConformanceError, match="breaks 2 rules:") as caught:
        check_matcher(Hopeless)
    assert set(caught.value.broken) == {"generators", "hidden_state"}
    assert check_matcher(Hopeless, skip=("generators", "hidden_state")).skipped == (
        "generators",
        "hidden_state",
    )


def test_what_rests_on_a_broken_foundation_is_not_run():
    with pytest.raises(ConformanceError, match=r"the checks after 'shapes' were not run"):
        check_matcher(FloatMask)


def test_what_is_no_matcher_is_refused():
    with pytest.raises(ConformanceError, match=r"does not derive from robustcmr\.matchers\.base\.Matcher"):
        check_matcher(nn.Linear)

    class Incomplete(Matcher):
        Config = SampleOptions

    with pytest.raises(ConformanceError, match="leaves out encode_images, encode_texts, score"):
        check_matcher(Incomplete)

    class NoConfig(Sound):
        Config = dict

    with pytest.raises(ConformanceError, match="no Config class derived from"):
        check_matcher(NoConfig)
    with pytest.raises(PluginError, match="unknown matcher 'omitt'; did you mean 'omit'"):
        check_matcher("omitt")


def test_options_that_do_not_fit_are_the_callers_mistake():
    with pytest.raises(ConfigError, match=r"cannot be checked with the options \{'dim': 0\}"):
        check_matcher(Sound, {"dim": 0})

    class Needs(Options):
        path: str

    class NeedsFile(Sound):
        Config = Needs

    with pytest.raises(ConfigError, match="give config="):
        check_matcher(NeedsFile)
    check_matcher(Sound, SampleOptions(dim=4))


def test_an_unknown_check_cannot_be_skipped():
    with pytest.raises(ConfigError, match="there is no check 'bf61'; did you mean 'bf16'"):
        check_matcher(Sound, skip=("bf61",))


def test_the_callers_generators_are_left_alone():
    before = capture_generators()
    check_matcher(Sound)
    after = capture_generators()
    assert torch.equal(before.pop("torch"), after.pop("torch"))
    assert before == after
