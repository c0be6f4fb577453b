"""From lines of text to tokens and back: characters, bytes, words, byte-pair encoding.

Every tokenizer numbers its symbols from 2 on, after `EOS` and `UNK`, so the vocabulary has V = 2 + symbols
tokens. Characters and bytes are array lookups over the whole text at once, without a loop over lines.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np

from textvae.config import CorpusSettings
from textvae.data.surrogates import mend_surrogates
from textvae.data.tokens import EOS, RESERVED, UNK, TokenTable
from textvae.errors import ConfigError, CorpusError, RunError, extra

if TYPE_CHECKING:
    import tokenizers

UNKNOWN_SHOWN = "\N{REPLACEMENT CHARACTER}"
"""How `UNK` reads in decoded text."""

UNKNOWN_WORD = "<unk>"
"""The word that corpora with a closed vocabulary (Penn Treebank) write for `UNK`."""

CODE_POINTS = 0x110000
"""Unicode's code points: the length of a lookup table over all characters."""


class Tokenizer(ABC):
    """Turns lines into tokens and back. Plain data: `to_json` and `from_json` are exact inverses."""

    kind: ClassVar[str]
    """The word for it in `corpus.tokenizer` and in tokenizer.json."""

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """V: all tokens, `EOS` and `UNK` included."""

    @property
    def generates_unknown(self) -> bool:
        """Whether `UNK` stands in the training text, so that a model of it rightly generates it; only words may say so."""
        return False

    @abstractmethod
    def encode(self, lines: Sequence[str]) -> TokenTable:
        """Return the tokens of every line, each ending in `EOS`; what the vocabulary does not hold is `UNK`."""

    @abstractmethod
    def decode(self, tokens: np.ndarray) -> list[str]:
        """Return the text of tokens (B,T), each row up to its first `EOS`; `UNK` shows as U+FFFD."""

    def unknown(self, lines: Sequence[str], most: int | None = None) -> dict[str, int]:
        """Return how often each symbol that the vocabulary does not hold occurs in the lines, most frequent first.

        With `most`, in each line's first so many symbols: all that is read of it.
        """
        return {}  # where every byte is a symbol

    def extended(self, lines: Sequence[str]) -> Tokenizer:
        """A tokenizer with the same tokens and, behind them, symbols of the lines that it does not know; only characters are learned."""
        return self

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""

    @classmethod
    @abstractmethod
    def restore(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild from what `to_json` gave; raises KeyError, TypeError or ValueError where that is damaged."""

    @staticmethod
    def from_json(content: Any) -> Tokenizer:
        """Rebuild the tokenizer that gave this `to_json` content.

        Raises:
            RunError: the content is damaged or of an unknown kind.
        """
        kinds: dict[str, type[Tokenizer]] = {kind.kind: kind for kind in (CharacterTokenizer, ByteTokenizer, WordTokenizer, BPETokenizer)}
        try:
            return kinds[content["kind"]].restore(content)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise RunError(f"tokenizer.json is damaged ({reason}): restore it from a copy of the run, or train again") from error


@final
@dataclass(frozen=True)
class CharacterTokenizer(Tokenizer):
    """One token a character (Unicode code point)."""

    kind: ClassVar[str] = "characters"

    symbols: str
    """The characters of the training text, in code-point order, and behind them those that were learned later; the i-th is token 2 + i."""

    @classmethod
    def fit(cls, lines: Sequence[str]) -> Self:
        """Keep every character of the lines. Raises `CorpusError` where there is none."""
        seen = np.zeros(CODE_POINTS, dtype=bool)
        seen[_codes("".join(mend_surrogates(lines)))] = True
        symbols = "".join(map(chr, np.flatnonzero(seen)))
        if not symbols:
            raise CorpusError("the training lines hold no character: give a corpus with text")
        return cls(symbols)

    @property
    def vocabulary_size(self) -> int:
        """V: `EOS`, `UNK`, and every character of the training text."""
        return RESERVED + len(self.symbols)

    @cached_property
    def _token_of_code(self) -> np.ndarray:
        table = np.full(CODE_POINTS, UNK, dtype=np.int32)
        table[_codes(self.symbols)] = np.arange(RESERVED, self.vocabulary_size)
        return table

    def encode(self, lines: Sequence[str]) -> TokenTable:
        """Look all characters up at once; see `Tokenizer.encode`."""
        lines = mend_surrogates(lines)
        return TokenTable.ended(self._token_of_code[_codes("".join(lines))], _sizes(lines))

    def decode(self, tokens: np.ndarray) -> list[str]:
        """Look all tokens up at once; see `Tokenizer.decode`."""
        code_of_token = np.concatenate([[0, ord(UNKNOWN_SHOWN)], _codes(self.symbols)]).astype("<u4")
        codes = code_of_token[tokens]  # (B,T)
        return [row[:end].tobytes().decode("utf-32-le") for row, end in zip(codes, _ends(tokens), strict=True)]

    def unknown(self, lines: Sequence[str], most: int | None = None) -> dict[str, int]:
        """Count characters that were not in the training text."""
        lines = mend_surrogates(lines)
        codes = _codes("".join(lines if most is None else (line[:most] for line in lines)))
        codes, counts = np.unique(codes[self._token_of_code[codes] == UNK], return_counts=True)
        return dict(Counter(dict(zip(map(chr, codes), counts.tolist(), strict=True))).most_common())

    def extended(self, lines: Sequence[str]) -> CharacterTokenizer:
        """The same characters and, behind them, others of the lines in code-point order."""
        return CharacterTokenizer(self.symbols + "".join(sorted(self.unknown(lines))))

    def to_json(self) -> dict[str, Any]:
        """Return the kind and the symbols."""
        return {"kind": self.kind, "symbols": self.symbols}

    @classmethod
    def restore(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild from the symbols."""
        symbols = content["symbols"]
        if not isinstance(symbols, str) or not symbols or len(set(symbols)) < len(symbols):
            raise ValueError("symbols must be a string of distinct characters")
        symbols.encode()
        return cls(symbols)


@final
@dataclass(frozen=True)
class ByteTokenizer(Tokenizer):
    """One token a byte of the UTF-8 text. All 256 are symbols, so nothing is ever unknown."""

    kind: ClassVar[str] = "bytes"

    @property
    def vocabulary_size(self) -> int:
        """V: `EOS`, `UNK`, and 256 bytes."""
        return RESERVED + 256

    def encode(self, lines: Sequence[str]) -> TokenTable:
        """Return the UTF-8 bytes, each plus 2."""
        encoded = [line.encode() for line in mend_surrogates(lines)]
        symbols = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        return TokenTable.ended(symbols.astype(np.int32) + RESERVED, _sizes(encoded))

    def decode(self, tokens: np.ndarray) -> list[str]:
        """Join bytes; a sequence that is not UTF-8 shows as U+FFFD."""
        return _decode_pieces(tokens, [bytes([byte]) for byte in range(256)])

    def to_json(self) -> dict[str, Any]:
        """Return the kind, which is all there is."""
        return {"kind": self.kind}

    @classmethod
    def restore(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild from the kind alone."""
        return cls()


@final
@dataclass(frozen=True)
class WordTokenizer(Tokenizer):
    """One token a word; words are what white space separates, so decoding puts one space between them.

    The literal word `<unk>` is `UNK`, as corpora with a closed vocabulary mean it.
    """

    kind: ClassVar[str] = "words"

    symbols: tuple[str, ...]
    """The words kept, most frequent first; the i-th is token 2 + i."""

    unknown_in_training: bool
    """Whether a word of the training text is not among them, or is `<unk>`."""

    @classmethod
    def fit(cls, lines: Sequence[str], vocabulary: int) -> Self:
        """Keep the most frequent words, equal counts in alphabetical order. Raises `CorpusError` where there is none."""
        counts = Counter(chain.from_iterable(map(str.split, mend_surrogates(lines))))
        written_out = counts.pop(UNKNOWN_WORD, 0)
        if not counts:
            raise CorpusError("the training lines hold no word: give a corpus with text, or set corpus.tokenizer to characters")
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(tuple(ranked[:vocabulary]), bool(written_out) or len(ranked) > vocabulary)

    @property
    def vocabulary_size(self) -> int:
        """V: `EOS`, `UNK`, and the words kept."""
        return RESERVED + len(self.symbols)

    @property
    def generates_unknown(self) -> bool:
        """True where the training text holds words beyond the vocabulary, or `<unk>`."""
        return self.unknown_in_training

    @cached_property
    def _token_of_word(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self.symbols, start=RESERVED)}

    def encode(self, lines: Sequence[str]) -> TokenTable:
        """Return one token a word."""
        words = [line.split() for line in mend_surrogates(lines)]
        token_of_word = self._token_of_word
        tokens = [token_of_word.get(word, UNK) for word in chain.from_iterable(words)]
        return TokenTable.ended(np.array(tokens, dtype=np.int32), _sizes(words))

    def decode(self, tokens: np.ndarray) -> list[str]:
        """Join words with one space."""
        words = ["", UNKNOWN_SHOWN, *self.symbols]
        return [" ".join(words[token] for token in row[:end]) for row, end in zip(np.asarray(tokens), _ends(tokens), strict=True)]

    def unknown(self, lines: Sequence[str], most: int | None = None) -> dict[str, int]:
        """Count words beyond the vocabulary; `<unk>` itself is not one."""
        counts = Counter(chain.from_iterable(line.split()[:most] for line in mend_surrogates(lines)))
        return {word: count for word, count in counts.most_common() if word not in self._token_of_word and word != UNKNOWN_WORD}

    def to_json(self) -> dict[str, Any]:
        """Return the kind, the words, and whether training met others."""
        return {"kind": self.kind, "symbols": list(self.symbols), "unknown_in_training": self.unknown_in_training}

    @classmethod
    def restore(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild from the words."""
        symbols, unknown = content["symbols"], content["unknown_in_training"]
        if not isinstance(symbols, list) or not all(isinstance(word, str) for word in symbols) or len(set(symbols)) < len(symbols):
            raise ValueError("symbols must be a list of distinct words")
        if not isinstance(unknown, bool):
            raise ValueError("unknown_in_training must be true or false")
        return cls(tuple(symbols), unknown)


@final
class BPETokenizer(Tokenizer):
    """Byte-pair encoding over the bytes of the text (the `tokenizers` package). Round trips are exact, nothing is unknown."""

    kind: ClassVar[str] = "bpe"

    def __init__(self, model: tokenizers.Tokenizer) -> None:
        self._model = model
        byte_of_letter = {letter: byte for byte, letter in enumerate(_byte_letters())}
        vocabulary = model.get_vocab()
        pieces = sorted(vocabulary, key=vocabulary.__getitem__)
        if sorted(vocabulary.values()) != list(range(len(pieces))):
            raise ValueError("the pieces of the vocabulary must be numbered without gaps")
        self._pieces = [bytes(byte_of_letter[letter] for letter in piece) for piece in pieces]

    @classmethod
    def fit(cls, lines: Sequence[str], vocabulary: int) -> Self:
        """Learn merges until `vocabulary` symbols. Raises `ConfigError` where that is under 256, one for each byte."""
        if vocabulary < 256:
            raise ConfigError(f"corpus.vocabulary is {vocabulary}: a bpe tokenizer needs at least 256, one symbol for each byte")
        package = _tokenizers_package()
        model = package.Tokenizer(package.models.BPE())
        model.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = package.pre_tokenizers.ByteLevel.alphabet()
        trainer = package.trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
        model.train_from_iterator(mend_surrogates(lines), trainer)
        return cls(model)

    @property
    def vocabulary_size(self) -> int:
        """V: `EOS`, `UNK`, and the pieces: 256 bytes and the merges."""
        return RESERVED + len(self._pieces)

    def encode(self, lines: Sequence[str]) -> TokenTable:
        """Return one token a piece."""
        ids = [encoding.ids for encoding in self._model.encode_batch(list(mend_surrogates(lines)))]
        symbols = np.fromiter(chain.from_iterable(ids), dtype=np.int32)
        return TokenTable.ended(symbols + RESERVED, _sizes(ids))

    def decode(self, tokens: np.ndarray) -> list[str]:
        """Join the bytes of the pieces; a sequence that is not UTF-8 shows as U+FFFD."""
        return _decode_pieces(tokens, self._pieces)

    def to_json(self) -> dict[str, Any]:
        """Return the kind and the package's own description of the model."""
        return {"kind": self.kind, "model": json.loads(self._model.to_str())}

    @classmethod
    def restore(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild from the description."""
        package = _tokenizers_package()
        try:
            model = package.Tokenizer.from_str(json.dumps(content["model"]))
        except KeyError:
            raise
        except Exception as error:  # the package raises bare Exception
            raise ValueError(f"not a model of the tokenizers package: {error}") from error
        return cls(model)


def fit_tokenizer(lines: Sequence[str], settings: CorpusSettings) -> Tokenizer:
    """Fit the tokenizer that `settings.tokenizer` names on the training lines.

    Raises:
        CorpusError: the lines hold no symbol at all.
        ConfigError: `settings.vocabulary` is too small for the tokenizer.
        PackageError: its package is not installed.
    """
    match settings.tokenizer:
        case "characters":
            return CharacterTokenizer.fit(lines)
        case "bytes":
            return ByteTokenizer()
        case "words":
            return WordTokenizer.fit(lines, settings.vocabulary)
        case "bpe":
            return BPETokenizer.fit(lines, settings.vocabulary)


def _codes(text: str) -> np.ndarray:
    """Code points of a text without surrogates."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def _sizes(lines: Sequence[Any]) -> np.ndarray:
    return np.fromiter(map(len, lines), dtype=np.int64, count=len(lines))


def _ends(tokens: np.ndarray) -> np.ndarray:
    """Tokens of each row before its first `EOS`, (B,)."""
    closed = np.pad(tokens, ((0, 0), (0, 1)), constant_values=EOS)  # (B,T+1): a row without an end stops after its last token
    return np.argmax(closed == EOS, axis=1)


def _decode_pieces(tokens: np.ndarray, pieces: list[bytes]) -> list[str]:
    """Join the bytes of every token; bytes that are not UTF-8 show as U+FFFD."""
    bytes_of_token = [b"", UNKNOWN_SHOWN.encode(), *pieces]
    rows = zip(np.asarray(tokens), _ends(tokens), strict=True)
    return [b"".join(bytes_of_token[token] for token in row[:end]).decode(errors="replace") for row, end in rows]


def _byte_letters() -> list[str]:
    """The letter that byte-level BPE writes for each byte: itself where Latin-1 prints it, else the next free one from 256 on."""
    printed = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    letters, free = [], 256
    for byte in range(256):
        letters.append(chr(byte) if byte in printed else chr(free))
        free += byte not in printed
    return letters


def _tokenizers_package() -> Any:
    with extra("bpe", "corpus.tokenizer bpe"):
        import tokenizers
    return tokenizers
