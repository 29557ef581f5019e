"""Chats in a model's own template, the same for inference and training, so that training sees what was sampled.

A short trial conversation shows where the template lets the model speak and what ends a turn. Thinking is switched off if the
template allows it. The text of a message never becomes one of the template's markers. Knows no engine and no loss.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from engage.errors import ModelError
from engage.models.markers import MARKER, neutral, without_marks
from engage.models.opening import open_config, open_tokenizer
from engage.models.rendering import apply, render
from engage.models.thoughts import closing, is_thought_mark, strip_thoughts, without_blocks, without_last_thought
from engage.models.weights import ModelRef

_ASKED, _SAID, _ANSWERED = "engageasked", "engagesaid", "engageanswered"  # words that occur in no template
_TURNS = ("user", "assistant", "user", "assistant", "user")
_TRIAL = 'engagestart{0} Isn\'t "5 & 6" <b>\n\n $7?  Été! engageend{0}'
_SHAPED = re.compile(r"[<\[{◁|｜].*\w.*[>\]}▷|｜]", re.DOTALL)


class ChatTemplate:
    """The template of one tokenizer: converts prompts, replies with their end of turn, and sampled tokens.

    `opener` completes the generation prompt: it adds what the template writes before a reply in a chat (a role's header, a channel)
    but not in the prompt, and closes a thought that the prompt leaves open. `end` is what the template writes after a reply, which
    may differ from the tokenizer's `eos_token`. `end_tokens` are the ids that stop a reply; `stop_text` is the end if it takes
    several tokens, else None.

    Raises ModelError if there is no template, if it writes nothing after a reply, if it changes earlier messages, or if a chat loses
    something or its speakers.
    """

    def __init__(self, tokenizer: Any, name: str = "") -> None:
        self.tokenizer = tokenizer
        self._where = f"{name}: " if name else ""
        self._part = lru_cache(maxsize=32768)(self._made_part)
        self._between: re.Pattern[str] | None = None
        asked, answered, on = self._probe()
        before, _, tail = answered.rpartition(_SAID)
        middle = on.rpartition(_SAID)[2].partition(_ANSWERED)[0]
        self.opener, self._lead = self._opening(asked, before)
        specials = _special_tokens(tokenizer)
        self.end = self._ending(tail, middle, specials)
        ids = self._ids(self.end)
        self.stop_text = None if len(ids) == 1 else self.end
        self._after = (tail if self.end in tail else middle).partition(self.end)[0] + self.end
        also = _first(middle, specials)
        stops = {tokenizer.eos_token_id, ids[0] if len(ids) == 1 else None}
        if also and not middle[: middle.index(also)].strip():
            stops.add(tokenizer.convert_tokens_to_ids(also))
        self.end_tokens = frozenset(token for token in stops if token is not None)
        headers = (middle.partition(self.end)[2] or middle, before[before.rindex(_ASKED) + len(_ASKED) :])
        self._headers = {
            role: header.strip()
            for role, header in zip(("user", "assistant"), headers, strict=True)
            if 4 <= len(header.strip()) <= 60 and re.search(r"\W", header.strip())
        }
        self._marks = specials | set(self._headers.values()) | {self.end}
        self._unknown = {tokenizer.unk_token_id}
        self._special_ids = set(tokenizer.convert_tokens_to_ids(sorted(specials))) - self._unknown
        self._asked = asked + self.opener
        self._plain = lru_cache(maxsize=8192)(self._made_plain)
        spaced = [on.replace(_SAID, f"{space}two  words{space}") for space in ("", " ", "\n", "\n\n")]
        self._between = self._separator([on, self._asked, *spaced])
        self._check_speakers({"user": middle, "assistant": on.partition(_ASKED)[2].partition(_SAID)[0]})

    def _probe(self) -> tuple[str, str, str]:
        """Three texts by the template: a question as a prompt; with its answer; with its answer and one more question."""
        if not self.tokenizer.chat_template:
            raise ModelError(f"{self._where}the model has no chat template; take an instruct model")
        chat = [{"role": "user", "content": _ASKED}, {"role": "assistant", "content": _SAID}]
        more = [*chat, {"role": "user", "content": _ANSWERED}]
        try:
            asked, answered, on = (apply(self.tokenizer, part, part is not chat) for part in (chat[:1], chat, more))
        except Exception as error:  # templates raise errors of any kind
            raise ModelError(f"{self._where}the model's chat template refuses a plain chat: {error}") from error
        if any(_SAID not in text for text in (answered, on)) or any(
            _ASKED not in text for text in (asked, answered, on)
        ):
            raise ModelError(f"{self._where}the model's chat template leaves out what was said; take another model")
        return asked, answered, on

    def _check_speakers(self, headers: Mapping[str, str]) -> None:
        """ModelError if a chat with a system text loses or rewrites something, or names its speakers otherwise than `headers`, whoever opens."""
        for roles in (("system", *_TURNS), ("system", *_TURNS[1:])):
            chat = [{"role": role, "content": _TRIAL.format(place)} for place, role in enumerate(roles)]
            try:
                text = self.prompt_text(chat)
            except ModelError as error:
                raise ModelError(f"{self._where}{error}") from error
            except Exception as error:  # templates raise errors of any kind
                raise ModelError(f"{self._where}the model's chat template refuses a chat: {error}") from error
            for place in range(
                2, len(roles) - 1
            ):  # between the first turn and the last, where some put the system text
                header = text.partition(f"engageend{place - 1}")[2].partition(f"engagestart{place}")[0]
                if header.split() != headers[roles[place]].split():
                    raise ModelError(
                        f"{self._where}the model's chat template mixes up the speakers after a system text, or if the assistant opens; "
                        "take another model"
                    )

    def _opening(self, asked: str, before: str) -> tuple[str, str]:
        """The text that the prompt lacks before a reply, and the white space that a reply begins with."""
        if before.startswith(asked):
            rest = before[len(asked) :]
            return (rest, "") if rest.strip() else ("", rest)
        if without_last_thought(asked) == without_last_thought(before):
            return closing(asked), ""
        raise ModelError(
            f"{self._where}the model's chat template changes earlier messages when a chat goes on; take another model"
        )

    def _ending(self, tail: str, middle: str, specials: Iterable[str]) -> str:
        """The first special token after a reply; if there is none, the text after it, if the template repeats it within a chat."""
        special = _first(tail, specials)
        if special:
            return special
        text = tail.strip()
        if text and middle.strip().startswith(text):
            return text
        following = _first(
            middle, specials
        )  # GLM: the next speaker's marker ends a turn, and the model's generation settings name it
        if following and not middle[: middle.index(following)].strip() and following in _named_ends(self.tokenizer):
            return following
        raise ModelError(
            f"{self._where}the model's chat template writes nothing after a reply, so that no reply would end; "
            "take a model whose template ends each turn"
        )

    def plain(self, text: str) -> str:
        """The text without thoughts, and with every marker of the template broken by a space, so that it gives no special token."""
        return self._plain(text)

    def _made_plain(self, text: str) -> str:
        text = without_blocks(text)
        for change in (
            lambda said: without_marks(said, self._marks),
            neutral,  # markers that the tokenizer only finds after normalising the text (capitals, say)
            lambda said: re.sub(r"[<>\[\]{}|｜◁▷＜＞]", " ", said),
        ):
            text = change(text)
            if not self._special_ids.intersection(self._ids(text)):
                break
        return text

    def prompt_text(self, chat: Sequence[dict[str, str]]) -> str:
        """The chat up to the start of the model's reply; raises what the template raises."""
        plain = [{**message, "content": self.plain(message["content"])} for message in chat]
        return render(self.tokenizer, plain, add_generation_prompt=True) + self.opener

    def prompt_ids(self, chat: Sequence[dict[str, str]]) -> list[int]:
        """`prompt_text` as tokens."""
        return self._ids(self.prompt_text(chat))

    def encode(self, chat: Sequence[dict[str, str]], *replies: str) -> tuple[list[int], list[list[int]]]:
        """The prompt's tokens, and those of each reply after it, without thoughts and with its end of turn."""
        prompt = self.prompt_text(chat)
        ids = self._ids(prompt)
        said = [self.plain(strip_thoughts(reply)[0]) for reply in replies]
        return ids, [self._following(prompt, ids, f"{self._lead}{one}{self._after}") for one in said]

    def choice_ids(self, choice: str) -> list[int]:
        """Tokens of a fixed continuation of a prompt."""
        return self._following(self._asked, self._ids(self._asked), self._lead + choice)

    def _following(self, prompt: str, ids: list[int], text: str) -> list[int]:
        """Tokens of `text` after `prompt`; tokenised alone if the two would merge into one token at the border."""
        both = self._ids(prompt + text)
        return both[len(ids) :] if both[: len(ids)] == ids else self._ids(text)

    def _ids(self, text: str) -> list[int]:
        """The text as tokens; parts between two markers are cached."""
        parts = self._between.split(text) if self._between else [text]
        return [token for part in parts if part for token in self._part(part)]

    def _made_part(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _separator(self, texts: Sequence[str]) -> re.Pattern[str] | None:
        """A pattern of added tokens at which a text can be split without changing its tokens; None if the trial texts disprove it."""
        added = sorted({str(token) for token in self.tokenizer.added_tokens_decoder.values()}, key=len, reverse=True)
        if not added:
            return None
        pattern = re.compile(f"({'|'.join(map(re.escape, added))})")
        for text in texts:
            if [t for part in pattern.split(text) if part for t in self._made_part(part)] != list(
                self._made_part(text)
            ):
                return None
        return pattern

    def said(self, tokens: Sequence[int]) -> tuple[str, int | None]:
        """The text of a sampled turn, stripped, and its number of tokens including the end (None: the tokens contain no end).

        Special tokens before the end stay visible in the text, in a spelling that `engage.simulation.flaws` recognises.
        """
        end = next((place for place, token in enumerate(tokens) if token in self.end_tokens), None)
        text, taken = self._decoded(tokens[:end]), None if end is None else end + 1
        if self.stop_text and self.stop_text in text:
            text = text.partition(self.stop_text)[0]
            taken = next(n for n in range(len(tokens) + 1) if self.stop_text in self._decoded(tokens[:n]))
        for mark in sorted(self._marks, key=len, reverse=True):
            if mark in text and not MARKER.search(mark) and not is_thought_mark(mark):
                role = next((role for role, header in self._headers.items() if header == mark), "mark")
                text = text.replace(mark, f"<|{role}|>")
        return text.strip(), taken

    def _decoded(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False))


def open_template(ref: ModelRef) -> ChatTemplate:
    """The chat template of a model, with its tokenizer; ModelError if ChatTemplate refuses it, or if it may give tokens that the model lacks."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tokenizer = open_tokenizer(ref.path)
    template = ChatTemplate(tokenizer, ref.name)
    size = getattr(open_config(ref.path).get_text_config(), "vocab_size", None)
    specials = _special_tokens(tokenizer)  # those that the template does not write do not matter
    ordinary = (number for token, number in tokenizer.get_vocab().items() if token not in specials)
    largest = max([*template.prompt_ids([{"role": "user", "content": "Hello."}]), *template.end_tokens, *ordinary])
    if isinstance(size, int) and largest >= size:
        raise ModelError(
            f"{ref.name}: the tokenizer gives token {largest}, and the model knows {size} tokens: tokenizer and weights do "
            "not belong together; give a whole model folder, as it was published"
        )
    return template


def _special_tokens(tokenizer: Any) -> set[str]:
    """Tokens that no text may produce: special tokens and added tokens that look like markers; not words or white space."""
    added = {str(token): token.special for token in tokenizer.added_tokens_decoder.values()}
    named = {str(token): True for token in tokenizer.all_special_tokens}
    return {
        token
        for token, special in {**added, **named}.items()
        if _SHAPED.fullmatch(token) or (special and len(token) > 1 and re.search(r"\w", token) and not token.islower())
    }


def _first(text: str, tokens: Iterable[str]) -> str | None:
    """The token that comes first in the text; of several at the same place, the longest."""
    places = [(text.index(token), -len(token), token) for token in tokens if token in text]
    return min(places)[2] if places else None


def _named_ends(tokenizer: Any) -> set[str]:
    """The end tokens that the model's generation settings name."""
    from transformers import GenerationConfig

    with contextlib.suppress(OSError, ValueError):
        ends = GenerationConfig.from_pretrained(tokenizer.name_or_path, local_files_only=True).eos_token_id
        return set(tokenizer.convert_ids_to_tokens([ends] if isinstance(ends, int) else list(ends or ())))
    return set()
