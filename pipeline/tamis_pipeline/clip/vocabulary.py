"""Word pieces of a catalogue's texts: byte-pair encoding (Sennrich et al., ACL 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import NFD, NFKC, Lowercase, StripAccents
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.trainers import BpeTrainer

PAD, UNKNOWN = "[PAD]", "[UNK]"


def learn(texts: Sequence[str], pieces: int, max_tokens: int) -> Tokenizer:
    """A tokenizer of at most ``pieces`` pieces; case and accents make no difference to it."""
    tokenizer = Tokenizer(BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = Normalizers([NFKC(), NFD(), StripAccents(), Lowercase()])
    tokenizer.pre_tokenizer = Whitespace()
    trainer = BpeTrainer(
        vocab_size=pieces, min_frequency=2, special_tokens=[PAD, UNKNOWN], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(PAD), pad_token=PAD)
    return tokenizer


def numbered(
    tokenizer: Tokenizer, texts: Sequence[str], length: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """ids int32[n, length] and mask float32[n, length]: 1 where there is a piece."""
    ids = np.zeros((len(texts), length), np.int32)
    mask = np.zeros((len(texts), length), np.float32)
    for row, found in enumerate(tokenizer.encode_batch(list(texts))):
        ids[row, : len(found.ids)] = found.ids
        mask[row, : len(found.ids)] = found.attention_mask
    return ids, mask
