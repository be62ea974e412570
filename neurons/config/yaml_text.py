"""Reads YAML strictly: it refuses what other readers accept, but an operator did not mean."""

from pathlib import Path
from typing import Any

import yaml

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.config.documents import read_text


def read_yaml(file: Path, advice: str = "") -> dict[str, Any]:
    """A YAML file that holds a mapping; an empty file is an empty one.

    Args:
        file: the file.
        advice: the cure if it is missing, for the message.

    Raises:
        ConfigurationError: it cannot be read or is not such YAML; the message has the line.
    """
    try:
        document = parse_yaml(read_text(file, advice))
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
    except RecursionError:
        raise ValueError("not YAML: lists and mappings are nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ValueError(f"not YAML: {'' if mark is None else f'line {mark.line + 1}: '}{problem}") from None


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, and the merge key ``<<``.

    PyYAML merges wrong values if the merged mapping has a merge key itself. A number of more digits than Python reads
    stays a text, so that it is refused as the value that it is.
    """

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        try:
            return super().construct_yaml_int(node)
        except ValueError:
            return node.value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                problem = "the merge key << is not supported; write the keys out"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} occurs twice", problem_mark=key_node.start_mark)
            seen.append(key)
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def one_line(value: Any) -> str:
    """Plain data as YAML on one line, its keys in their order."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1_000_000)
    return text.removesuffix("\n...\n").strip()
