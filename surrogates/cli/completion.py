"""The command completion: scripts with which shells complete these commands, made by shtab.

The scripts hold the names of commands, options and settings as text. A shell that completes a word
starts no Python.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from surrogates import config
from surrogates.errors import InputError

from .console import warn
from .options import Commands
from .settings import list_of_problem, list_of_training, of_problem, of_training

SHELLS = ("bash", "zsh", "fish")

_FILES = frozenset(
    ("file", "files", "surrogate", "surrogates", "histories", "out", "config", "start", "input")
    + ("ground_truth", "problem", "subject", "survey", "plot", "mesh", "points")
)
"""Arguments that name files."""

_WORDS = {"problem": ("cdr", "dcr", "ert"), "subject": ("train", "cdr", "dcr", "ert")}
"""Words that may stand in place of a file."""

_AFTER_BASH = """
# readline splits KEY=VALUE at "=": the words are joined again. No blank follows a KEY=.
_surrogates() {
  local -a joined=()
  local i=0 last=-1
  while [ $i -le $COMP_CWORD ]; do
    local word="${COMP_WORDS[i]}"
    if [ $last -ge 0 ] && { [ "$word" = "=" ] || [[ "${joined[last]}" == *= ]]; }; then
      joined[last]+="$word"
    else
      last=$((last + 1))
      joined[last]="$word"
    fi
    i=$((i + 1))
  done
  local -a COMP_WORDS=("${joined[@]}")
  local COMP_CWORD=$last
  _shtab_surrogates
  if [[ ${#COMPREPLY[@]} == 1 && "${COMPREPLY[0]}" == *= ]]; then
    compopt -o nospace 2>/dev/null || :
  fi
}

complete -o bashdefault -F _surrogates surrogates"""


def add_completion(commands: Commands) -> None:
    """Add completion."""
    text = "print a script by which a shell completes these commands"
    sub = commands.add("completion", completion, text)
    sub.add_argument(
        "shell",
        choices=SHELLS,
        help="in bash, once: surrogates completion bash > "
        "~/.local/share/bash-completion/completions/surrogates; in zsh as _surrogates in a folder "
        "of fpath; in fish as ~/.config/fish/completions/surrogates.fish",
    )
    sub.set_defaults(root=commands.parser)


def completion(options: argparse.Namespace) -> int:
    """Print the script of a shell."""
    try:
        import shtab
    except ImportError as error:
        raise InputError(
            f"completion needs shtab: pip install 'varpro-surrogates[completion]' ({error})"
        ) from error
    functions = _Functions(options.shell)
    for parser in _parsers(options.root):
        for action in parser._actions:
            pattern = functions.of(action, getattr(parser, "settings", None))
            if pattern:
                vars(action)["complete"] = {options.shell: pattern}
    print(shtab.complete(options.root, options.shell, preamble=functions.text))
    if options.shell == "bash":
        print(_AFTER_BASH)
    return 0


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Visit a parser and those of all its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action.choices, Mapping):
            for sub in action.choices.values():
                yield from _parsers(sub)


class _Functions:
    """The functions of a shell that complete arguments.

    Args:
        shell: Its name.

    Attributes:
        text: The functions' definitions.
    """

    def __init__(self, shell: str) -> None:
        """Define them."""
        self._shell = shell
        training = _keys(of_training, "regression")
        problems = {name: _keys(of_problem, name) for name in _WORDS["problem"]}
        define = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
        self.text = define(training, problems)

    def of(self, action: argparse.Action, listed: Any) -> str:
        """Return the function that completes an argument; "" if there is none.

        Args:
            action: The argument.
            listed: The function that lists the settings of its command in the help.
        """
        name = ""
        if action.dest == "set":
            name = {list_of_training: "training", list_of_problem: "problem"}[listed]
        elif action.dest in _WORDS and action.metavar != "FILE.py:CLASS":
            name = f"{action.dest}_file"
        elif action.dest in _FILES:
            name = "file"
        if not name:
            return ""
        return f"(_surrogates_{name})" if self._shell == "fish" else f"_surrogates_{name}"


def _keys(make: Callable[[str], Any], name: str) -> tuple[str, ...]:
    """Return the keys of default settings, each followed by "="; none if they are not known."""
    try:
        return tuple(f"{one.key}=" for one in config.described(make(name)))
    except InputError as error:
        warn(f"the settings of {name} will not be completed: {error}")
        return ()


def _bash(training: Sequence[str], problems: Mapping[str, Sequence[str]]) -> str:
    cases = "".join(
        f"""    *" {name} "*) compgen -W "{" ".join(keys)}" -- "$1" ;;\n"""
        for name, keys in problems.items()
    )
    words = "".join(
        f"""
_surrogates_{name}_file() {{
  compgen -W "{" ".join(words)}" -- "$1"
  compgen -f -- "$1"
}}
"""
        for name, words in _WORDS.items()
    )
    return f"""
_surrogates_file() {{
  compgen -f -- "$1"
}}
{words}
_surrogates_training() {{
  [[ "$1" == *=* ]] || compgen -W "{" ".join(training)}" -- "$1"
}}

_surrogates_problem() {{
  [[ "$1" == *=* ]] || case " ${{COMP_WORDS[*]}} " in
{cases}  esac
}}
"""


def _zsh(training: Sequence[str], problems: Mapping[str, Sequence[str]]) -> str:
    cases = "".join(
        f"    *' {name} '*) compadd -S '' -- {' '.join(keys)} ;;\n"
        for name, keys in problems.items()
    )
    words = "".join(
        f"""
_surrogates_{name}_file() {{
  compadd -- {" ".join(words)}
  _files
}}
"""
        for name, words in _WORDS.items()
    )
    return f"""
_surrogates_file() {{
  _files
}}
{words}
_surrogates_training() {{
  compadd -S '' -- {" ".join(training)}
}}

_surrogates_problem() {{
  case " $words " in
{cases}  esac
}}
"""


def _fish(training: Sequence[str], problems: Mapping[str, Sequence[str]]) -> str:
    cases = "".join(
        f"    case '* {name} *'\n      printf '%s\\n' {' '.join(keys)}\n"
        for name, keys in problems.items()
    )
    words = "".join(
        f"""
function _surrogates_{name}_file
  printf '%s\\n' {" ".join(words)}
  __fish_complete_path (commandline -ct)
end
"""
        for name, words in _WORDS.items()
    )
    return f"""
function _surrogates_file
  __fish_complete_path (commandline -ct)
end
{words}
function _surrogates_training
  printf '%s\\n' {" ".join(training)}
end

function _surrogates_problem
  switch " "(commandline -cp)" "
{cases}  end
end
"""
