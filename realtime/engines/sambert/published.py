"""The voices that can be pulled by name. Weights are published on ModelScope only; their model cards state the licence."""

from __future__ import annotations

from realtime.models.engines import Published, Repo

# What the engine needs of a snapshot: the closed front end's data (`resource.zip`) is left out.
PATTERNS = ("configuration.json", "voices.zip", "voices/*", "README.md")


def _one(name: str, repo: str, description: str) -> Published:
    return Published(name, (Repo("modelscope", repo, "", PATTERNS),), description)


PUBLISHED = (
    _one("zh-cn-16k", "iic/speech_sambert-hifigan_tts_zh-cn_16k", "four Mandarin voices with emotions: zhitian, zhizhe, zhiyan, zhibei"),
    _one("zhitian_emo", "iic/speech_sambert-hifigan_tts_zhitian_emo_zh-cn_16k", "Mandarin, female, emotions"),
    _one("zhizhe_emo", "iic/speech_sambert-hifigan_tts_zhizhe_emo_zh-cn_16k", "Mandarin, male, emotions"),
    _one("zhiyan_emo", "iic/speech_sambert-hifigan_tts_zhiyan_emo_zh-cn_16k", "Mandarin, female, emotions"),
    _one("zhibei_emo", "iic/speech_sambert-hifigan_tts_zhibei_emo_zh-cn_16k", "Mandarin, female, emotions"),
)
