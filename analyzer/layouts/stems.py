"""Group names that differ only in the number that gives a checkpoint's place.

A *stem* is a name without that number: ``net_G_*`` for ``net_G_5.pth``. All other numbers stay, so that
``resnet50_epoch_1`` and ``resnet101_epoch_1``, ``fold0_1`` and ``fold1_1`` belong to different series. Scores and dates
in a name are left out of its stem.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from analyzer.layouts.naming import DATE, number_key, without_suffix

Kind = Literal["place", "score", "identity", "tokens", "other"]

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[kmbtKMBT](?![A-Za-z0-9]))?)")
_WORD_BEFORE = re.compile(r"(?P<start>^|[^A-Za-z])(?P<word>[A-Za-z]+)(?P<joint>[^A-Za-z]*)$")
_WORD_AFTER = re.compile(r"[^A-Za-z]?(?P<word>[A-Za-z]+)")
_SCORE_NAME = re.compile(r"[^A-Za-z0-9]*[A-Za-z_]*[^A-Za-z0-9]*$")

# The marks of numbers that were left out, each with the word for it, such as "epoch", and the joints around both.
_MARK = re.compile(
    r"[-_. +=]*(?:(?<![A-Za-z])(?:step|iter|iteration|update|epoch|ep|e|s))?[-_. +=]*[*@](?:epoch|_steps)?[-_. +=]*"
)
_PLACES = re.compile(r".*(?:step|iter|iteration|update|epoch)s?|ep|eps|it|its|iters", re.IGNORECASE)
_GLUED_PLACES = frozenset({"e", "s"})  # as in name_e10_s1000
# Batches are counted after an epoch, as in ep0-ba1000 or e0_b500; elsewhere the number is a batch's size.
_BATCHES = frozenset({"ba", "batch", "b"})
_ENDS_WITH_EPOCH = re.compile(r"(?:^|[^A-Za-z])(?:epoch|ep|e)[-_=]?$", re.IGNORECASE)
_SCORES = re.compile(
    r".*(?:loss|acc|accuracy|score|reward|rew|dice|iou|map|psnr|ssim|fid|wer|cer|bleu|auc|ppl|perplexity|mse|mae|error"
    r"|fitness)",
    re.IGNORECASE,
)
_IDENTITIES = frozenset(
    {"seed", "fold", "rank", "gpu", "run", "trial", "exp", "cv", "split", "part", "shard", "worker", "rep", "net", "v"}
    | {"expert", "member", "agent", "version", "client", "subject"}
)
# These are also counted by steps: agent_1000, agent_2000. Several networks are numbered one by one.
_COUNTED_BY_STEPS = frozenset({"agent", "net", "v", "version"})
_STAGES = frozenset({"stage", "phase", "cycle", "round", "period", "task", "loop", "ingredient"})
_COUNTED = frozenset({"checkpoint", "ckpt", "chkpt", "model", "weights", "state"})
# A series of such names beside another one consists of copies of its checkpoints.
_SELECTED = re.compile(r"(?:^|[^a-z])(?:best|final|last|latest)(?:$|[^a-z])", re.IGNORECASE)
_AVERAGED = re.compile(r"(?:^|[^a-z])(?:avg|ave|average|averaged|swa|soup)(?:$|[^a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Number:
    """A number in a name: its text, what it means, and how it is joined to the word before it."""

    text: str
    kind: Kind
    word: str = ""
    is_glued: bool = False


@dataclass(frozen=True, slots=True)
class _Name:
    """A name cut at its numbers: one more piece of text than numbers; dates are no numbers."""

    name: str
    dates: tuple[str, ...]
    pieces: tuple[str, ...]
    numbers: tuple[_Number, ...]


def stems(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names by stem; ``*`` in a stem stands for the number that gives the place, or goes with it."""
    grouped: dict[str, list[str]] = {}
    for family in _families(names):
        _, left_out = _places(family)
        by_stem: dict[str, list[_Name]] = {}
        for member in family:
            by_stem.setdefault(_stem(member, left_out), []).append(member)
        for stem, members in by_stem.items():
            are_apart = len({tuple(number.text for number in one.numbers) for one in members}) == len(members)
            for one in members:
                # Only dates tell such names apart: each date is that of a training.
                own = stem if are_apart or _is_dated_alone(one) else stem.replace("@", " ".join(one.dates), 1)
                grouped.setdefault(own, []).append(one.name)
    return grouped


def order_keys(names: Iterable[str]) -> dict[str, Any] | None:
    """Return a sort key for each name of a series, by the numbers that give the places, else by dates.

    None if the names are not all of one stem, or have no such number: what they have in common then says nothing
    about the order. The other numbers, such as scores, do not count.
    """
    known = list(names)
    families = _families(known)
    if len(families) != 1 or len(stems(known)) != 1:
        return None
    places, _ = _places(families[0])
    if not places and not any(one.dates for one in families[0]):
        return None
    return {one.name: _order_key(one, sorted(places)) for one in families[0]}


def _order_key(name: _Name, places: Sequence[int]) -> tuple[object, ...]:
    return (
        tuple(_value(name.numbers[position].text) for position in places),
        number_key("-".join(name.dates)),
        name.name,
    )


def _value(text: str) -> tuple[float, object]:
    return (1.0, number_key(text)) if not text.replace(".", "", 1).isdecimal() else (0.0, float(text))


def _families(names: Iterable[str]) -> list[list[_Name]]:
    """Return the names that are alike but for their numbers together."""
    families: dict[tuple[object, ...], list[_Name]] = {}
    for name in names:
        parsed = _parsed(name)
        families.setdefault((parsed.pieces, tuple(number.kind for number in parsed.numbers)), []).append(parsed)
    return list(families.values())


def _is_dated_alone(name: _Name) -> bool:
    return not name.dates or not name.numbers


def identities(name: str) -> tuple[object, tuple[str, ...]]:
    """Return (what names of one kind share, the numbers that tell its networks apart), as in ``best_fold0``.

    Words that also count versions, such as ``v2``, are left out.
    """
    parsed = _parsed(name)
    told_apart = [one.kind == "identity" and one.word not in _COUNTED_BY_STEPS - {"agent"} for one in parsed.numbers]
    return (parsed.pieces, *told_apart), tuple(
        one.text for one, is_identity in zip(parsed.numbers, told_apart, strict=True) if is_identity
    )


def is_selected(stem: str) -> bool:
    """Check whether a stem names copies of other checkpoints, such as the best or the last one."""
    return bool(_SELECTED.search(stem))


def is_average(stem: str) -> bool:
    """Check whether a stem names an average over checkpoints, which has no place among them."""
    return bool(_AVERAGED.search(stem))


def label(stem: str) -> str:
    """Return a stem as the name of a run: without the marks of its numbers and the joints around them."""
    return _MARK.sub("-", stem).strip("-_. +=") or "numbered"


def _parsed(name: str) -> _Name:
    plain_name = without_suffix(name)
    dates = tuple(match[0] for match in DATE.finditer(plain_name))
    pieces = _NUMBER.split(DATE.sub("@", plain_name))
    texts, found = pieces[::2], pieces[1::2]
    numbers = tuple(_number(texts, found, position) for position in range(len(found)))
    kept: list[str] = []
    for position, text in enumerate(texts):
        is_score = position < len(numbers) and numbers[position].kind == "score"
        kept.append(_SCORE_NAME.sub("", text) if is_score else text)
    merged, plain = [kept[0]], []
    for number, text in zip(numbers, kept[1:], strict=True):
        if number.kind == "score":
            merged[-1] += text
        else:
            plain.append(number)
            merged.append(text)
    return _Name(name, dates, tuple(merged), tuple(plain))


def _number(texts: Sequence[str], found: Sequence[str], position: int) -> _Number:
    """Return what a number means, judged by the word before it, or else by the one after it."""
    text = found[position]
    before = _WORD_BEFORE.search(texts[position])
    after = _WORD_AFTER.match(texts[position + 1])
    word = before["word"].lower() if before else ""
    is_glued = bool(before and not before["joint"])
    starts = bool(before and (before["start"] or position == 0))
    follower = after["word"].lower() if after else ""
    is_followed_at_once = bool(after and after.start("word") == 0)
    # In pythia-70m-step1000, the word belongs to the number after it.
    belongs_to_next = position + 1 < len(found) and texts[position + 1].strip("-_.=+ ").lower() == follower
    is_its_unit = is_followed_at_once or not (belongs_to_next or _PLACES.fullmatch(word))
    if not is_glued and _PLACES.fullmatch(follower) and is_its_unit:
        return _Number(text, "place", word)
    follows_epoch = position > 0 and _ENDS_WITH_EPOCH.search(texts[position - 1])
    if _PLACES.fullmatch(word) or (word in _GLUED_PLACES and is_glued and starts):
        return _Number(text, "place", word, is_glued)
    if word in _BATCHES and follows_epoch:
        return _Number(text, "place", word, is_glued)
    if "token" in word or "token" in follower or text[-1] in "bBtT":
        return _Number(text, "tokens", word, is_glued)
    if _SCORES.fullmatch(word):
        return _Number(text, "score", word, is_glued)
    if word in _IDENTITIES and (starts or word != "v"):
        return _Number(text, "identity", word, is_glued)
    return _Number(text, "other", word, is_glued)


def _places(family: Sequence[_Name]) -> tuple[set[int], set[int]]:
    """Return the positions of the numbers that give the place, and of those that do not tell one series from another.

    The second are the first, and what goes with them.
    """
    numbers = [member.numbers for member in family]
    kinds = [number.kind for number in numbers[0]]
    columns = [[row[position].text for row in numbers] for position in range(len(kinds))]
    varying = [position for position, texts in enumerate(columns) if len(set(texts)) > 1]
    places = {position for position, kind in enumerate(kinds) if kind == "place"}
    if not places:
        free = [position for position in varying if kinds[position] == "other"]
        free = free or [position for position in varying if kinds[position] == "tokens"]
        free = free or [position for position in varying if _counts_steps(numbers[0][position], columns[position])]
        places = set(
            sorted(free, key=lambda position: _fitness(numbers[0][position], columns[position], position))[-1:]
        )
    others = {position for position in varying if kinds[position] in ("other", "tokens")} - places
    kept = {position for position in others if _names_a_model(numbers[0][position], columns[position])}
    kept |= {position for position in varying if kinds[position] == "identity"} - places
    distinct = sorted(places | kept)
    claimed = Counter(tuple(columns[position][row] for position in distinct) for row in range(len(family)))
    if max(claimed.values()) > 1:  # the place alone does not tell the names apart, so the other numbers do
        kept |= others
    return places & set(varying) or places, places | (set(varying) - kept)


def _counts_steps(number: _Number, texts: Sequence[str]) -> bool:
    """Check whether the numbers after a word such as ``agent`` are steps, because they do not go one by one."""
    counts = sorted({int(text) for text in texts if text.isdecimal()})
    gaps = {after - before for before, after in pairwise(counts)}
    return number.word in _COUNTED_BY_STEPS and bool(gaps) and min(gaps) > 1


def _fitness(number: _Number, texts: Sequence[str], position: int) -> tuple[object, ...]:
    """Return how likely a number gives the place, where no keyword says so."""
    return not number.is_glued or number.word in _COUNTED, len(set(texts)), position


def _names_a_model(number: _Number, texts: Sequence[str]) -> bool:
    """Check whether a number is part of a model's name, as in resnet50: glued to a word, and never alone."""
    is_part = number.is_glued and number.word not in _STAGES and number.word not in _COUNTED
    return is_part and min(Counter(texts).values()) > 1


def _stem(member: _Name, left_out: set[int]) -> str:
    text = member.pieces[0]
    for position, (number, piece) in enumerate(zip(member.numbers, member.pieces[1:], strict=True)):
        text += ("*" if position in left_out else number.text) + piece
    return text
