"""Print the requirements of the package with the given extras, so that they can be installed before the wheel exists.

    python requirements.py pyproject.toml EXTRA...

Works on Python 3.10, which has no tomllib, by asking pip's vendored copy.
"""

import re
import sys
from pathlib import Path

try:
    import tomllib
except ImportError:
    from pip._vendor import tomli as tomllib


def requirements(project: dict, extras: list[str]) -> list[str]:
    """The dependencies and those of the extras, with extras of the project itself resolved."""
    found = list(project["dependencies"])
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{project['name']}\[([\w,-]+)\]", requirement)
            found += requirements(project, own[1].split(",")) if own else [requirement]
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    content = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print("\n".join(requirements(content["project"], sys.argv[2:])))
