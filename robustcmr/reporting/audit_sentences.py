"""What an audit found, in sentences: the same on the terminal, on its page and in a notebook."""

from __future__ import annotations

from pathlib import Path

from robustcmr.reporting.markup import shell
from robustcmr.reporting.sentences import percent
from robustcmr.runs.audits import DECISIONS, Summary

_DOES = {
    "drop": ("is to be dropped", "are to be dropped"),
    "review": ("needs a look", "need a look"),
    "keep": ("is kept", "are kept"),
    "aside": ("was set aside, as it could not be judged", "were set aside, as they could not be judged"),
}


def pairs(count: int) -> str:
    """Return a number of pairs, such as ``1 pair`` or ``7,500 pairs``."""
    return f"{count:,} pair{'' if count == 1 else 's'}"


def outcome_sentences(summary: Summary, problems: bool = True) -> list[str]:
    """Return how many pairs look wrong, what labels prove, what was decided, and the problems if wanted."""
    rate = summary["noise_rate"]
    found = [] if rate is None else [_ended(rate["says"])]
    found += summary.get("certified", [])
    return [*found, decisions_sentence(summary), *(problem_sentences(summary) if problems else ())]


def decisions_sentence(summary: Summary) -> str:
    """Return how many pairs were put on each list."""
    every, parts = summary["pairs"], []
    for decision in ("drop", "review", "keep", "aside"):
        count = summary["decisions"].get(decision, 0)
        if count or decision in ("drop", "keep"):
            share = f" ({percent(count / every)})" if every else ""
            parts.append(f"{count:,}{share} {_DOES[decision][count != 1]}")
    return f"Of {pairs(every)}, {', '.join(parts[:-1])} and {parts[-1]}."


def problem_sentences(summary: Summary) -> list[str]:
    """Return the problems of pairs that were set aside, most pairs first."""
    found = sorted(summary["problems"], key=lambda problem: -problem["pairs"])
    return [
        f"Set aside: {pairs(problem['pairs'])} with {problem['problem']}"
        + (f", first {problem['first']}." if "first" in problem else ".")
        for problem in found
    ]


def apply_command(audit: Path, dry_run: bool = False) -> str:
    """Return the command that writes the kept pairs of an audit."""
    to = audit.with_name(f"{audit.name or 'audit'}-clean")
    words = ["robustcmr apply", str(shell(audit)), "--list keep --to", str(shell(to))]
    return " ".join([*words, "--dry-run"] if dry_run else words)


def reasons_of(summary: Summary) -> list[tuple[str, str, int]]:
    """Return decision, reason and number of pairs, by decision as lists are read, most pairs first."""
    order = {decision: place for place, decision in enumerate(("drop", "review", "keep", "aside"))}
    return [
        (decision, reason, count)
        for decision in sorted(DECISIONS, key=lambda decision: order[decision])
        for reason, count in sorted(
            summary["reasons"].get(decision, {}).items(), key=lambda item: (-item[1], item[0])
        )
    ]


def _ended(sentence: str) -> str:
    text = sentence.strip()
    text = f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith(".") else f"{text}."
