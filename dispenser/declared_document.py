"""A YAML file as somebody wrote it: plain values, the line of each, and what is wrong with its text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

#: Where a value stands, from the top: names and list positions.
Path = tuple[str | int, ...]

_QUOTED: Final = re.compile(r"'(?!<)[^']{2,}'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """Something wrong at a place. Never holds a value that was written, for it may be a secret."""

    file: str
    line: int
    path: Path
    sentence: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}"
        return f"{where}: {dotted(self.path)}: {self.sentence}" if self.path else f"{where}: {self.sentence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file's values with the line of every one of them (lines count from 1)."""

    file: str
    values: Any
    lines: Mapping[Path, int]
    mistakes: tuple[Mistake, ...] = ()
    #: The text is no YAML, so nothing is known of what it declares.
    broken: bool = False

    def written(self, path: Path) -> Path:
        """The part of a path that is in the file: steps that are not are left out."""
        found: Path = ()
        for step in path:
            if (*found, step) in self.lines:
                found = (*found, step)
        return found

    def mistake(self, path: Path, sentence: str) -> Mistake:
        """A mistake at a path, on the line of the nearest thing that is written there."""
        return Mistake(file=self.file, line=self.lines[self.written(path)], path=path, sentence=sentence)

    def place(self, path: Path) -> str:
        """`file:line` of a path."""
        return f"{self.file}:{self.lines[self.written(path)]}"


def read(file: str, text: str) -> Document:
    """The document in a text, whatever is wrong with it. Aliases are refused: they hide what applies."""
    loader = _Loader("")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return _broken(file, line, f"not YAML: {_without_values(error.problem or 'unreadable')}")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _broken(file, line, "not YAML: a character that no text has")
    reading = _Reading(file, loader)
    values = None if node is None else reading.value(node, ())
    return Document(file=file, values=values, lines=reading.lines, mistakes=tuple(reading.mistakes))


def dotted(path: Path) -> str:
    """A path as people write it: `providers.tracker-co.scopes[0]`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")


def _broken(file: str, line: int, sentence: str) -> Document:
    mistake = Mistake(file=file, line=line, path=(), sentence=sentence)
    return Document(file=file, values=None, lines={(): line}, mistakes=(mistake,), broken=True)


def _without_values(problem: str) -> str:
    # PyYAML quotes tags and handles, and a secret without its quotes may read as one of them.
    return _QUOTED.sub("…", problem)


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "no alias (*) is read here: write it out", mark)
        return super().compose_node(parent, index)


class _Reading:
    """Walks the nodes of one file and notes the line of each."""

    def __init__(self, file: str, loader: _Loader) -> None:
        self.file = file
        self.loader = loader
        self.lines: dict[Path, int] = {(): 1}
        self.mistakes: list[Mistake] = []

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._note(line, path, "a name is a text, not a list or a map")
            elif key.value in values:
                first = self.lines[(*path, key.value)]
                self._note(line, (*path, key.value), f"given twice, first on line {first}")
            else:
                self.lines[(*path, key.value)] = line
                values[key.value] = self.value(item, (*path, key.value))
        return values

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        try:
            return self.loader.construct_object(node)
        # PyYAML's readers of tagged values (`!!timestamp x`, `!!bool x`) fail in ways of their own.
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError):
            self._note(node.start_mark.line + 1, path, "not a value that is read here: put it in quotes")
            return None

    def _note(self, line: int, path: Path, sentence: str) -> None:
        self.mistakes.append(Mistake(file=self.file, line=line, path=path, sentence=sentence))
