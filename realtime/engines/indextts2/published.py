"""What `realtime models pull indextts2` fetches: the main repository and the four whose models it builds on."""

from __future__ import annotations

from realtime.models.engines import Published, Repo

MAIN = (
    *("config.yaml", "gpt.pth", "s2mel.pth", "bpe.model", "wav2vec2bert_stats.pt", "feat1.pt", "feat2.pt"),
    *("*LICENSE*", "DISCLAIMER*", "README.md", "glossary.yaml"),
    # copies bring the other repositories along in folders of their own
    *(f"w2v-bert-2.0/{name}" for name in ("config.json", "preprocessor_config.json", "model.safetensors")),
    *("*semantic_codec*.safetensors", "*campplus_cn_common.bin"),
    *(f"bigvgan*/{name}" for name in ("config.json", "bigvgan_generator.pt", "LICENSE*")),
    "hf_cache/*",
)

PUBLISHED = (
    Published(
        "indextts2",
        (
            Repo("huggingface", "IndexTeam/IndexTTS-2", "", MAIN),
            Repo("huggingface", "facebook/w2v-bert-2.0", "", ("config.json", "preprocessor_config.json", "model.safetensors")),
            Repo("huggingface", "amphion/MaskGCT", "", ("semantic_codec/model.safetensors",)),
            Repo("huggingface", "funasr/campplus", "", ("campplus_cn_common.bin",)),
            Repo("huggingface", "nvidia/bigvgan_v2_22khz_80band_256x", "", ("config.json", "bigvgan_generator.pt", "LICENSE*")),
        ),
        "zero-shot voices, Chinese and English, 22 050 Hz; 7.5 GB; bilibili Model Use License Agreement",
    ),
)
"""The first is taken when no name is given."""
