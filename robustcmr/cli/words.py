"""Options that take several words at once: ``--set a=1 b=2`` is ``--set a=1 --set b=2``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

_SETTING = re.compile(r"[A-Za-z_]\w*(\.\w+)*=")
"""Start of KEY=VALUE; a path such as ./a=1 has none."""


def spread(args: Sequence[str], repeated: Mapping[str, re.Pattern[str]]) -> list[str]:
    """Return ``args`` with the option before each further word that fits it.

    Args:
        args: words of a command line.
        repeated: repeatable option, such as ``--set`` -> how a further word of it starts.

    Example:
        >>> spread(["--set", "a=1", "b=2", "FILE"], {"--set": re.compile("[a-z]=")})
        ['--set', 'a=1', '--set', 'b=2', 'FILE']
    """
    done: list[str] = []
    words = iter(args)
    option = None  # whose further words may follow
    for word in words:
        if word == "--":
            return [*done, word, *words]
        if option is not None and repeated[option].match(word):
            done += [option, word]
            continue
        done.append(word)
        name, equals, _ = word.partition("=")
        option = name if name in repeated else None
        if option is not None and not equals:
            done += [value for value in [next(words, None)] if value is not None]
    return done


class ManyWords:
    """A command whose options in ``further`` take several words; others may be added by a subclass."""

    further: ClassVar[Mapping[str, re.Pattern[str]]] = {"--set": _SETTING}

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the words, one value an option."""
        own = {name for param in self.params for name in param.opts}  # type: ignore[attr-defined]
        return super().parse_args(  # type: ignore[misc]
            ctx, spread(args, {name: start for name, start in self.further.items() if name in own})
        )
