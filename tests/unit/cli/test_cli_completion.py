"""Completion scripts, in the shells that they are for (where these are installed)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., int]
LINES = {
    "hyper ren": "rename",
    "hyper run --det": "--detach --detach-keys",
    "hyper system d": "df",
    "hyper pod st": "start stats stop",
    "hyper pod create --share": "--share --share-pid",
    "hyper -H unix:///x volume rm a-": "a-volume-ls--q",
    "hyper network rm a-": "a-network-ls---format-{{.Name}}",
    "hyper run --network a-": "a-network-ls---format-{{.Name}}",
    "hyper network connect a-": "a-network-ls---format-{{.Name}} a-ps--a---format-{{.Names}}",
    "hyper pod stop a-p": "a-pod-ls---format-{{.Name}}",
    "hyper stop a-": "a-ps---format-{{.Names}}",
}
STAND_IN = {  # a hyper whose lists have one name, made of what it was asked
    "fish": "function hyper; echo a-(string join -- - $argv); end\n",
    "zsh": 'emulate sh\nhyper() { echo "a-$(IFS=-; echo "$*")"; }\n',
}
PROBE = {
    "fish": "complete -C '{line}' | string split -f1 \\t | string join ' '\n",
    "zsh": 'COMP_WORDS=({line}); COMP_CWORD={at}; _hyper; echo "${{COMPREPLY[*]}}"\n',
}


def test_only_shells_that_are_known(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("completion", "csh") == 1
    assert "hint: bash, zsh, fish" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_what_a_shell_completes(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, shell: str
) -> None:
    assert run("completion", shell) == 0
    script = capsys.readouterr().out
    assert "hyper" in script
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    probes = [PROBE[shell].format(line=line, at=len(line.split()) - 1) for line in LINES]
    path = tmp_path / "probe"
    path.write_text(script + STAND_IN[shell] + "".join(probes))
    words = [shell, *(["-f"] if shell == "zsh" else []), str(path)]
    done = subprocess.run(
        words,
        capture_output=True,
        timeout=60,
        check=False,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.stderr == b""
    shown = [set(line.split()) for line in done.stdout.decode().splitlines()]
    for wanted, found in zip(map(str.split, LINES.values()), shown, strict=True):
        assert (
            set(wanted) <= found if shell == "zsh" else set(wanted) == found
        )  # zsh leaves the others out later
