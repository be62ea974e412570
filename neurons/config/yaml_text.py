"""Reads YAML strictly and within bounds: it refuses what other readers accept, but an operator did not mean.

All YAML of this project is read here. The bounds are for memory and time: aliases may repeat a list inside of another
again and again, so that a few lines stand for a billion values.
"""

from pathlib import Path
from typing import Any, Final

import yaml

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.config.documents import MAX_SHOWN, is_unicode, read_text

MOST_BYTES: Final = 1024 * 1024
"""Bytes of a configuration: one with every key and its comment has 20 kB."""
MOST_NODES: Final = 100_000
"""Keys, values, lists and mappings in one text, each as often as aliases repeat it; PyYAML takes 15 to 40 us for
each."""
MOST_DEPTH: Final = 50
"""Lists and mappings inside of each other: a configuration has six."""
_MOST_DIGITS: Final = 400
"""Characters of a number; a longer one stays a text, so that it is refused as the value that it is."""


def read_yaml(file: Path, advice: str = "", most: int = MOST_BYTES) -> dict[str, Any]:
    """A YAML file that holds a mapping; an empty file is an empty one.

    Args:
        file: the file.
        advice: the cure if it is missing, for the message.
        most: bytes that the file may have.

    Raises:
        ConfigurationError: it cannot be read, is too large or is not such YAML; the message has the line.
    """
    try:
        document = parse_yaml(read_text(file, advice, most))
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        found = "a list" if isinstance(document, list) else repr(document)
        raise ConfigurationError(f"{file}: expected keys with values, but it is {found}")
    return document


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: it is not such YAML; the message has the fault and its line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ValueError(f"not YAML: {'' if mark is None else f'line {mark.line + 1}: '}{problem}") from None


class _Loader(yaml.SafeLoader):
    """Bounds depth and number of nodes; refuses duplicate keys, and the merge key ``<<``.

    PyYAML merges wrong values if the merged mapping has a merge key itself.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[yaml.Node, int] = {}
        """Nodes in each list and mapping that is complete, itself included."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise _fault(f"lists and mappings are nested too deeply: more than {MOST_DEPTH}", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if node not in self._sizes:
                raise _fault("a list or mapping contains itself", event.start_mark)
        elif node is not None:
            self._sizes[node] = self._size(node, event.start_mark)
        return node

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        text = super().construct_scalar(node)
        if isinstance(text, str) and not is_unicode(text):
            raise _fault("half of a surrogate pair, which is no character", node.start_mark)
        return text

    def _size(self, node: yaml.Node, at: Any) -> int:
        """How many nodes ``node`` stands for.

        Raises:
            yaml.YAMLError: it, or the text so far, has more than ``MOST_NODES``.
        """
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        inside = (part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,)))
        count = 1 + sum(self._sizes[part] for part in inside)
        if max(count, len(self._sizes)) > MOST_NODES:
            what = f"more than {MOST_NODES} keys and values, each as often as an alias (*) repeats it"
            raise _fault(f"{what}; make it smaller", at)
        return count

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, TypeError, KeyError, AttributeError) as error:
            # PyYAML's own, such as of a month 13: without a line
            raise _fault(f"{_shown(node)} is no value: {error}", node.start_mark) from None

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        if len(node.value) > _MOST_DIGITS:
            return node.value
        read = self.construct_yaml_int if node.tag.endswith(":int") else self.construct_yaml_float
        return read(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise _fault("the merge key << is not supported; write the keys out", key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                raise _fault("a key must be a word, not a list or a mapping", key_node.start_mark)
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise _fault(f"the key {key!r} occurs twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_number)


def _fault(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _shown(node: yaml.Node) -> str:
    text = node.value if isinstance(node.value, str) else "this"
    return repr(text) if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]!r}..."


def one_line(value: Any) -> str:
    """Plain data as YAML on one line, its keys in their order."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1_000_000)
    return text.removesuffix("\n...\n").strip()
