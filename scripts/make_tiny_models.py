"""Write a tiny CLIP and a tiny BERT with random weights, to try pretrained models offline.

python scripts/make_tiny_models.py OUT [--captions FILE]    # OUT/clip and OUT/bert
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

CAPTIONS = (
    "a small red circle is left of a large blue square",
    "two green triangles lie above the yellow star on a dark background",
    "a dog runs over the grass, and a child in a striped shirt watches it",
    "the man's bicycle stands beside an old house near the river",
)
POSITIONS = 64
PICTURE = 32


SHAPE = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def make_clip(
    folder: Path, captions: Sequence[str] = CAPTIONS, seed: int = 0, longest: int = POSITIONS
) -> None:
    """Write a CLIP model, its tokenizer and its image processor.

    Args:
        folder: receives the files; created if missing.
        captions: texts that the word pieces are learned from; other letters are split into bytes.
        seed: of the random weights.
        longest: largest number of tokens in a caption.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    start, end = "<|startoftext|>", "<|endoftext|>"
    pieces = Tokenizer(models.BPE())
    pieces.normalizer = normalizers.Lowercase()
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    pieces.train_from_iterator(captions, trainer)
    pieces.add_special_tokens([start, end])  # the end mark has the highest index, as in CLIP
    ends = {mark: pieces.token_to_id(mark) for mark in (start, end)}
    pieces.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=list(ends.items())
    )
    PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        bos_token=start,
        eos_token=end,
        unk_token=end,
        pad_token=end,
        model_max_length=longest,
    ).save_pretrained(folder)
    config = CLIPConfig(
        text_config={
            "vocab_size": pieces.get_vocab_size(),
            **SHAPE,
            "max_position_embeddings": longest,
            "bos_token_id": ends[start],
            "eos_token_id": ends[end],
            "pad_token_id": ends[end],
        },
        vision_config={
            **SHAPE,
            "hidden_size": 32,
            "intermediate_size": 64,
            "image_size": PICTURE,
            "patch_size": 8,
        },
        projection_dim=20,
    )
    torch.manual_seed(seed)
    CLIPModel(config).save_pretrained(folder)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": PICTURE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": PICTURE, "width": PICTURE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")


def make_bert(
    folder: Path, captions: Sequence[str] = CAPTIONS, seed: int = 0, longest: int = POSITIONS
) -> None:
    """Write a BERT model and its tokenizer; arguments are those of :func:`make_clip`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.decoder = decoders.WordPiece()
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789,.-'")
    trainer = trainers.WordPieceTrainer(
        vocab_size=600, special_tokens=marks, initial_alphabet=letters, show_progress=False
    )
    pieces.train_from_iterator([*captions, " ".join(letters)], trainer)
    ends = [(mark, pieces.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    pieces.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=longest,
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=pieces.get_vocab_size(),
        **SHAPE,
        max_position_embeddings=longest,
        pad_token_id=pieces.token_to_id("[PAD]"),
    )
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(folder)


def main() -> None:
    """Write both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for clip and bert")
    parser.add_argument(
        "--captions", type=Path, metavar="FILE", help="captions to learn word pieces from, one a line"
    )
    given = parser.parse_args()
    captions: Sequence[str] = CAPTIONS
    if given.captions is not None:
        try:
            captions = given.captions.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            parser.error(f"cannot read {given.captions}: {error}")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    for name, make in (("clip", make_clip), ("bert", make_bert)):
        make(given.out / name, captions)
        print(given.out / name)


if __name__ == "__main__":
    main()
