"""A request's pairs to token ids: cut as asked, long documents seen through windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rankwright.engine.prompted import TemplateTokenizer
from rankwright.engine.tokenize import TokenizedPairs, longest_first
from rankwright.serving.model import AnyTokenizer, ServedModel
from rankwright.serving.problems import Problem
from rankwright.serving.settings import ServerSettings
from rankwright.serving.windows import Window, cut, windows_of

__all__ = ["Asked", "Prepared", "Reader"]


@dataclass(frozen=True)
class Asked:
    """How a request wants its pairs scored.

    Attributes:
        scores: ``"model"`` for the model's own scores, ``"probability"`` for the same brought
            between 0 and 1 if they are not there, ``"raw"`` for logits.
        max_tokens_per_doc: Longer documents are cut; None cuts only what the model cannot take.
        max_tokens_per_query: Longer queries are cut.
        max_tokens: Longer pairs are cut; None, and more than the model takes, for its own limit.
        long_documents: One of `rankwright.serving.settings.LONG_DOCUMENTS`; None for the
            server's default.
        max_windows: Most windows of one document, if the server's limit is not lower.
        keep_end: Whether texts that are cut lose their beginnings instead of their ends.
        refuse_long: Whether a pair that would be cut is an error instead.
        spans: Whether anybody reads which stretches of documents were seen.
        instruction: For models whose template has a place for one; None for the model's own.
        deadline: Monotonic time after which nobody wants the result; None for the server's.
    """

    scores: str = "model"
    max_tokens_per_doc: int | None = None
    max_tokens_per_query: int | None = None
    max_tokens: int | None = None
    long_documents: str | None = None
    max_windows: int | None = None
    keep_end: bool = False
    refuse_long: bool = False
    spans: bool = False
    instruction: str | None = None
    deadline: float | None = None


@dataclass(frozen=True)
class Prepared:
    """A request's pairs after windows and tokens.

    Attributes:
        tokens: One input per window.
        windows: Per pair, its document's windows from front to back.
        cut: Per pair, whether it lost tokens.
        ignored: What of the request had no effect, in words.
    """

    tokens: TokenizedPairs
    windows: list[list[Window]]
    cut: list[bool]
    ignored: tuple[str, ...] = ()


class Reader:
    """Makes token ids of texts, as a model reads them and a request asks.

    Args:
        model: The model.
        settings: Limits.

    Raises:
        InputError: The settings ask for windows, and the model's tokenizer cannot make any.
    """

    def __init__(self, model: ServedModel, settings: ServerSettings) -> None:
        self._model = model
        self._settings = settings
        if settings.long_documents != "first":
            model.tokenizer.special_tokens  # noqa: B018 (raises)

    def prepare(self, pairs: Sequence[tuple[str, str]], asked: Asked) -> Prepared:
        """Token ids of all windows of all pairs.

        Raises:
            Problem: A pair is too long and must not be cut.
            InputError: Something that this model's tokenizer cannot do, or a limit too low.
        """
        tokenizer, ignored = self._tokenizer(asked.instruction)
        limit = min(asked.max_tokens or self._model.max_length, self._model.max_length)
        job = _Job(tokenizer, limit, asked, self._how(asked), self._most_windows(asked))
        windows: list[list[Window]] = []
        was_cut: list[bool] = []
        texts: list[tuple[str, str]] = []
        for query, document in pairs:
            query, document, lost = job.shortened(self._model.prompt(), query, document)
            seen = [Window(0, len(document))]
            if job.how != "first":
                seen, shorter = job.windows(query, document)
                lost = lost or shorter
            windows.append(seen)
            was_cut.append(lost)
            texts.extend((query, document[w.start : w.stop]) for w in seen)
        tokens = tokenizer.encode(texts, limit, asked.keep_end)
        if tokens.truncated:
            job.find_cut(texts, tokens, windows, was_cut)
        if asked.refuse_long and any(was_cut):
            raise Problem(
                413,
                "validation",
                f"the pair at index {was_cut.index(True)} is longer than {limit} tokens. Shorten "
                "it, or allow truncation.",
            )
        return Prepared(tokens, windows, was_cut, ignored)

    def _tokenizer(self, instruction: str | None) -> tuple[AnyTokenizer, tuple[str, ...]]:
        if not instruction:
            return self._model.tokenizer, ()
        instructed = self._model.instructed(instruction)
        if instructed is None:
            return self._model.tokenizer, ("instruction: this model has no place for one",)
        return instructed, ()

    def _how(self, asked: Asked) -> str:
        return asked.long_documents or self._settings.long_documents

    def _most_windows(self, asked: Asked) -> int:
        return min(asked.max_windows or self._settings.max_windows, self._settings.max_windows)


@dataclass(frozen=True)
class _Job:
    """One request's rules."""

    tokenizer: AnyTokenizer
    limit: int
    asked: Asked
    how: str
    most_windows: int

    def shortened(self, prompt: str, query: str, document: str) -> tuple[str, str, bool]:
        """The query with its prompt, the document, and whether the request's limits cut them."""
        lost = shorter = False
        most = self.asked.max_tokens_per_query
        if most and most < self.limit:  # what is longer still is cut with the pair
            query, lost = cut(self.tokenizer, query, most)
        most = self.asked.max_tokens_per_doc
        if most and (most < self.limit or self.how != "first"):
            document, shorter = cut(self.tokenizer, document, most)
        return prompt + query, document, lost or shorter

    def _kept(self, n: int, m: int) -> tuple[int, int]:
        """How many of n tokens of a query and m of a document the model reads."""
        room = max(self.limit - self.tokenizer.special_tokens, 1)
        if isinstance(self.tokenizer, TemplateTokenizer):  # takes from the document first
            return min(n, room), max(min(m, room - n), 0)
        return longest_first(n, m, room)

    def windows(self, query: str, document: str) -> tuple[list[Window], bool]:
        """The document's windows, and whether it goes on after them."""
        room = self.limit - self.tokenizer.special_tokens - self.tokenizer.token_counts([query])[0]
        # A query that leaves hardly any room is cut by the model's own rule instead.
        room = max(room, self.limit // 4, 1)
        return windows_of(self.tokenizer, document, room, self.most_windows)

    def find_cut(
        self,
        texts: list[tuple[str, str]],
        tokens: TokenizedPairs,
        windows: list[list[Window]],
        was_cut: list[bool],
    ) -> None:
        """Marks the pairs that the tokenizer cut, and where their spans really end."""
        place = 0
        for index, seen in enumerate(windows):
            for text, length in zip(
                texts[place : place + len(seen)],
                tokens.lengths[place : place + len(seen)].tolist(),
                strict=True,
            ):
                # Only inputs that fill the model can have been cut.
                if length == self.limit and self.tokenizer.encode([text], self.limit).truncated:
                    was_cut[index] = True
                    if self.asked.spans and self.how == "first":
                        windows[index] = [Window(0, self._end(text))]
            place += len(seen)

    def _end(self, text: tuple[str, str]) -> int:
        """How many characters of a document that is cut the model reads."""
        kept = self._kept(*self.tokenizer.token_counts(text))[1]
        return self.tokenizer.offsets(text[1])[kept - 1][1] if kept else 0
