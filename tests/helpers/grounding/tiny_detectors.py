"""Zero-shot detectors of every family, tiny and random, saved as folders that `hf:` loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel

FAMILIES = ("grounding-dino", "mm-grounding-dino", "owlv2", "owlvit", "omdet-turbo")

# BERT's own ids: GroundingDINO knows the ends of sentences by number.
_SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
_STOPS = {".": 1012, "?": 1029}
_WORDS = (
    "a an red blue green circle square triangle container ##number ##s two dog dogs and next to "
    "the on , ! ' - s big ##gest sign in front of number"
)
_SIDE = 64  # of what the square models see


def save(folder: Path, model_type: str, seed: int = 0) -> Path:
    """Write a model with random weights, its image processor and its tokenizer."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    made = {"owlv2": _owlv2, "owlvit": _owlvit, "omdet-turbo": _omdet}
    model, processor = made[model_type]() if model_type in made else _dino(model_type)
    with torch.no_grad():
        for parameter in model.parameters():  # initial values are so small that scores tie
            if parameter.dim() > 1:
                parameter.normal_(0, 1.2 * parameter.shape[-1] ** -0.5)
            elif parameter.numel() == 1:  # MM-GroundingDINO's prior, that nothing is there
                parameter.zero_()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def bert_tokenizer() -> transformers.BertTokenizer:
    """Return BERT's rules over a few words."""
    vocabulary = {f"[unused{number}]": number for number in range(1030)}
    for word, number in {**_SPECIAL, **_STOPS}.items():
        del vocabulary[f"[unused{number}]"]
        vocabulary[word] = number
    for number, word in enumerate(_WORDS.split(), 200):
        del vocabulary[f"[unused{number}]"]
        vocabulary[word] = number
    return transformers.BertTokenizer(vocab=vocabulary, do_lower_case=True)


def clip_tokenizer(length: int, pad: str = "<|endoftext|>") -> transformers.CLIPTokenizer:
    """Return CLIP's rules without a merge: one token per byte."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return transformers.CLIPTokenizer(
        vocab=vocabulary, merges=[], pad_token=pad, model_max_length=length
    )


def _dino(model_type: str) -> tuple[Any, Any]:
    grown = {"grounding-dino": "GroundingDino", "mm-grounding-dino": "MMGroundingDino"}[model_type]
    config = getattr(transformers, f"{grown}Config")(
        backbone_config=_swin([2, 3, 4]),
        text_config=transformers.BertConfig(
            vocab_size=1030,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
        ),
        d_model=64,
        num_queries=20,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
    )
    model = getattr(transformers, f"{grown}ForObjectDetection")(config)
    images = transformers.GroundingDinoImageProcessor(
        size={"shortest_edge": 64, "longest_edge": 96}
    )
    return model, transformers.GroundingDinoProcessor(images, bert_tokenizer())


def _owlv2() -> tuple[Any, Any]:
    images = transformers.Owlv2ImageProcessor(size={"height": _SIDE, "width": _SIDE})
    processor = transformers.Owlv2Processor(images, clip_tokenizer(16, pad="!"))
    return _owl("Owlv2"), processor


def _owlvit() -> tuple[Any, Any]:
    images = transformers.OwlViTImageProcessor(
        size={"height": _SIDE, "width": _SIDE}, do_center_crop=False
    )
    processor = transformers.OwlViTProcessor(images, clip_tokenizer(16, pad="!"))
    return _owl("OwlViT"), processor


def _owl(family: str) -> Any:
    common = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {"vocab_size": 514, "bos_token_id": 512, "eos_token_id": 513}
    config = getattr(transformers, f"{family}Config")(
        text_config={**common, **text, "max_position_embeddings": 16},
        vision_config={**common, "image_size": _SIDE, "patch_size": 16},
        projection_dim=32,
    )
    return getattr(transformers, f"{family}ForObjectDetection")(config)


def _omdet() -> tuple[Any, Any]:
    text = transformers.CLIPTextConfig(
        vocab_size=514,
        hidden_size=48,  # another width than the decoder's, as always in this family
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=512,
        eos_token_id=513,
    )
    config = transformers.OmDetTurboConfig(
        backbone_config=_swin([2, 3, 4]),
        text_config=text,
        use_timm_backbone=False,
        apply_layernorm_after_vision_backbone=False,  # it is for timm's order of axes
        image_size=_SIDE,
        text_projection_in_dim=48,
        text_projection_out_dim=48,
        class_embed_dim=48,
        task_encoder_hidden_dim=32,
        num_queries=16,
        vision_features_channels=(32, 32, 32),
        encoder_in_channels=(32, 64, 128),
        encoder_hidden_dim=32,
        encoder_dim_feedforward=32,
        decoder_hidden_dim=32,
        decoder_dim_feedforward=32,
        decoder_num_layers=2,
        decoder_num_heads=4,
        encoder_attention_heads=4,
    )
    images = transformers.DetrImageProcessor(size={"height": _SIDE, "width": _SIDE}, do_pad=False)
    processor = transformers.OmDetTurboProcessor(images, clip_tokenizer(77))
    return transformers.OmDetTurboForObjectDetection(config), processor


def _swin(out: list[int]) -> transformers.SwinConfig:
    return transformers.SwinConfig(
        image_size=_SIDE,
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[2, 2, 2, 2],
        window_size=4,
        out_indices=out,
    )
