"""What every matcher can do: start from files, and say which weights are trained how gently."""

import pytest
import torch
from torch import nn

from robustcmr.errors import DataError
from robustcmr.matchers.base import (
    Backbone,
    Matcher,
    item_vectors,
    pooled_vectors,
    two_views,
    vector_width,
)
from robustcmr.types import Fragments, ImageBatch, MatcherInputs, PairBatch, TextBatch


class Files(Backbone):
    def __init__(self, lr_factor, *parts):
        super().__init__(lr_factor)
        self.parts = nn.ModuleList(parts)
        self.loaded = 0

    def load_pretrained(self):
        self.loaded += 1


class Built(Matcher):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def encode_images(self, images):
        raise NotImplementedError

    encode_texts = score = encode_images


def ids(parameters):
    return {id(p) for p in parameters}


def test_backbones_learn_at_their_own_rate():
    shared = nn.Linear(2, 2)
    gentle, other, frozen = Files(0.1, nn.Linear(3, 3), shared), Files(0.1, shared), Files(0, nn.Linear(4, 4))
    matcher = Built(
        a=gentle, b=other, c=frozen, head=nn.Linear(5, 5), fixed=nn.Linear(1, 1).requires_grad_(False)
    )
    groups = {group["lr_factor"]: group["params"] for group in matcher.parameter_groups()}
    assert set(groups) == {1.0, 0.1}
    assert ids(groups[1.0]) == ids(matcher.head.parameters())
    assert ids(groups[0.1]) == ids(gentle.parameters()) | ids(other.parameters())
    assert sum(len(parameters) for parameters in groups.values()) == 6  # what two share is there once


def test_a_backbone_at_full_rate_is_with_the_rest():
    matcher = Built(a=Files(1.0, nn.Linear(2, 2)), head=nn.Linear(2, 2))
    (group,) = matcher.parameter_groups()
    assert ids(group["params"]) == ids(matcher.parameters())


def test_what_is_not_trained_stays_in_evaluation_mode():
    matcher = Built(a=Files(0.0, nn.Dropout()), b=Files(0.1, nn.Dropout())).train()
    assert [part.parts[0].training for part in (matcher.a, matcher.b)] == [False, True]
    assert not matcher.eval().b.parts[0].training


def test_every_pretrained_part_is_loaded_once():
    inner = Files(0.1)
    matcher = Built(a=Files(0.1, inner), b=nn.ModuleList([Files(0.0)]))
    matcher.load_pretrained()
    assert [matcher.a.loaded, inner.loaded, matcher.b[0].loaded] == [1, 1, 1]


def test_region_features_and_words_are_read_unless_said_otherwise():
    assert Built.inputs(None) == MatcherInputs(tokenizer=None, image_processor=None)


def test_a_teacher_of_a_matcher_with_backbones_follows_all_weights():
    from robustcmr.methods.teacher import Teacher

    matcher = Built(a=Files(0.1, nn.Linear(2, 2)))
    teacher = Teacher(matcher, 0.5)
    with torch.no_grad():
        matcher.a.parts[0].weight += 1.0
    before = teacher.matcher.a.parts[0].weight.clone()
    teacher.follow(matcher)
    assert (teacher.matcher.a.parts[0].weight > before).all()


def test_pooled_vectors_are_handed_on_or_asked_for():
    vectors, mask = torch.randn(3, 1, 4), torch.ones(3, 1, dtype=torch.bool)
    pooled = vectors[:, 0]
    assert pooled_vectors(Fragments(vectors, mask, pooled)) is pooled
    with pytest.raises(DataError, match=r"gives no single vector of an image or text.*--matcher two_tower"):
        pooled_vectors(Fragments(vectors, mask))


class Stub(Matcher):
    """Encoders that give random fragments of a chosen width, with or without dropout."""

    def __init__(self, image_width, text_width, dropout=0.0):
        super().__init__()
        self.widths, self.dropout, self.passes = (image_width, text_width), nn.Dropout(dropout), 0

    def encode_images(self, images):
        self.passes += 1
        assert not self.training or torch.is_grad_enabled()
        return Fragments(self.dropout(torch.ones(len(images), 2, self.widths[0])), images.mask)

    def encode_texts(self, texts):
        return Fragments(self.dropout(torch.ones(len(texts), 2, self.widths[1])), texts.mask)

    def score(self, images, texts):
        raise NotImplementedError


IMAGES = ImageBatch(torch.zeros(3, 2, 4), torch.ones(3, 2, dtype=torch.bool))
TEXTS = TextBatch(torch.zeros(3, 2, dtype=torch.int64), torch.ones(3, 2, dtype=torch.bool))


def test_the_width_of_item_vectors_is_that_of_both_sides():
    batch = PairBatch(IMAGES, TEXTS, torch.arange(3), torch.eye(3, dtype=torch.bool))
    matcher = Stub(7, 7, dropout=0.5).train()
    before = torch.get_rng_state()
    assert vector_width(matcher, batch) == 7
    assert torch.equal(torch.get_rng_state(), before)
    assert matcher.training
    with pytest.raises(DataError, match="image vectors have 7 numbers and its text vectors 5"):
        vector_width(Stub(7, 5), batch)


def test_item_vectors_are_unit_float32_and_do_not_depend_on_the_batch():
    features = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    for side in (Fragments(features.half(), mask), Fragments(features, mask, features[:, 0].half())):
        vectors = item_vectors(side)
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
        for i in range(3):
            torch.testing.assert_close(item_vectors(side[i : i + 1])[0], vectors[i])
    torch.testing.assert_close(
        item_vectors(Fragments(features, mask))[1], features[1, 0] / features[1, 0].norm()
    )


@pytest.mark.parametrize(("dropout", "wanted", "passes"), [(0.5, True, 2), (0.5, False, 1), (0.0, True, 1)])
def test_a_second_view_costs_a_pass_only_if_it_can_differ(dropout, wanted, passes):
    torch.manual_seed(0)
    matcher = Stub(50, 5, dropout).train()
    one, other = two_views(matcher.encode_images, IMAGES, wanted)
    assert matcher.passes == passes
    assert (one is other) == (passes == 1)
    assert torch.equal(one.features, other.features) == (passes == 1)
