"""docs/cli.md, from the command table: ``python -m hypercontainer.cli.reference > docs/cli.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module

from hypercontainer.cli import table
from hypercontainer.cli.help import command_help, family_help, overview
from hypercontainer.cli.main import GLOBAL_OPTIONS
from hypercontainer.cli.options import REFUSED, Command

HEAD = """\
# The command line

*Generated from the command table by `python -m hypercontainer.cli.reference`; a test holds it to the code.*

`hyper` takes Docker's verbs and options, and shows what Docker shows. It starts hyperd where none is running
(all but `hyper version`, `hyper logout`, `hyper kernel fetch` and `hyper system stop`), and finds it by
`--host`, `HYPER_HOST`, `HYPER_RUN` or the configuration file (docs/configuration.md). At an address that `--host` or
`HYPER_HOST` names, and that is not the usual one, only `hyper system start` starts it.

## How options are read

As Docker's command line reads them: `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, clusters
(`-it`); a boolean's value stands behind `=` (`--rm=false`); `--` ends the options; long names are never
abbreviated. Where a command line ends in someone else's command (`run`, `create`, `exec`), the options end at
the first argument.

## Exit status

| status | meaning |
| --- | --- |
| 0 | done; also a container that was left by its detach keys |
| 1 | the command failed, or its arguments are too few, too many or unknown |
| 125 | an option is wrong; of `run`: hyper itself failed |
| 126, 127 | of `run` and `exec`: the program cannot be executed, or is not there |
| 128+N | signal N ended the process, or this command; 130 after Ctrl-C, 141 where nobody reads its output |
| other | of `run`, `exec`, `attach`, `start -a`: the process's own |

Data go to standard output; progress, questions, warnings and errors to standard error. An error is a line that
begins with `hyper:`, and a hint where there is a remedy. QEMU's command, its standard error and the last lines of the
guest's console, where a VM did not start, are in hyperd's log (`$HYPER_ROOT/hyperd.log`), and shown with `--debug`.

## Attached processes

With `-t`, keys go to the process as they are, and the terminal is restored on every way out. Ctrl-P Ctrl-Q
(`--detach-keys`) leaves the process running. Without `-t`, INT, TERM, HUP, QUIT, USR1 and USR2 are passed on
(`--sig-proxy`); the third INT or TERM ends the client and leaves the container running. A reader of standard
output that stops reading stalls standard output alone, and memory stays bounded.

## `--timings`

`hyper run --timings` and `hyper start -a --timings` end with a table on standard error: how the VM came to be, and
the milliseconds of each stage. `command line` goes from this process's fork to its first request; `image` is spent
fetching an image that is not there; `create` goes until hyperd has made the container (and was started, where none
ran), `attach` of `start` until the client is attached; then come the stages of the run (docs/api.md); `between` is
what neither side counts; `total` goes from the fork until the table is printed.

## `--format`

Listings take `table` (the default), `json` (an object a line), a Go template for each line, or `table` and a
template. Templates know fields (`{{.Names}}`, `{{.State.ExitCode}}`, `{{.Label "key"}}`), pipelines, variables,
`if`, `with`, `range`, comparisons, and the functions %s. `hyper inspect` has the keys of `docker inspect`, and
the virtual machine under `VM`.

## Pods and podfiles

`hyper run --pod POD` and `hyper create -c POD` put a container into a pod that is there; what belongs to the pod as a
whole (ports, resolvers, host name, kernel) is said where the pod is made. `--pod new:NAME` makes it of the options of
this very command. In a pod, `--memory` and `--cpus` are the container's own limits.

`--podfile FILE` is read by the command line itself, with the rights of who runs it: hyperd opens no file and no address
for a podfile's `files`. Paths of the host that are mounted (a podfile's volumes, `-v`, a manifest's hostPath) are
hyperd's to open, and it shares what the asking user may use. Images of a manifest for whose registry the user has
credentials are fetched by `hyper play`; hyperd is given none.

## Volumes

| `-v` | is |
| --- | --- |
| `data:/path` | the volume of that name (`hyper volume ls`), made if it is not there, of `--volume-size` |
| `/host/path:/path`, `./path:/path` | a file or directory of the host; a directory is made if there is nothing |
| `/path` | a new volume that goes with the container's pod |

Options stand behind one more colon: `ro`, and `nocopy`, without which what the image has at `/path` goes into a volume
that is empty. Docker's options about SELinux labels and consistency are taken and have no effect here.

## Networks

| `--network` | the container, or the pod, |
| --- | --- |
| `back` | is in the network of that name (`hyper network create back`), where others find it by its name |
| `name=back,alias=db,ip=10.89.0.7` | also by that alias, at that address; also `ip6`, `mac-address`, `gw-priority` |
| `bridge`, `default`, or not said | is in the network that there is anyway; the configuration may say another |
| `user` | is alone behind the host's addresses: it reaches out, and is reached by `-p` alone |
| `none` | has no network |
| `pod:POD`, `container:NAME` | goes into that pod, or that container's, and shares its network |

It may be said several times: each is an interface, `--ip`, `--ip6`, `--mac-address` and `--network-alias` are of the
first, and the one of the highest `gw-priority` is the way out. `host` is refused: a virtual machine has a network of
its own. `-p` publishes a port of it on the host, and `--add-host NAME:host-gateway` names the host inside.
`--host-loopback PORT` opens one TCP port of the host's loopback address there.

| `-p` | publishes |
| --- | --- |
| `80`, `53/udp` | a port on any free port of the host |
| `8080:80`, `8000-8009:8000-8009` | on that port; a range on a range of the same length |
| `8080-8099:80` | on the first of these that is free |
| `127.0.0.1:8080:80`, `[::1]:8080:80`, `127.0.0.1::80` | on one address of the host |
| `published=8080,target=80,protocol=tcp` | the same in words |

| `--secret-header` | sets the header on the way out, in requests to that host alone; the VM never has it |
| --- | --- |
| `api.example.com:Authorization=env:TOKEN` | over TLS that is verified; the value is of this shell's environment |
| `api.example.com:X-Key=file:key.txt` | the value is the one line of a file on this side |
| `http://api.example.com:X-Key=env:KEY` | in clear, and not over TLS |

[networks.md](networks.md) says how, and what it does not help against.

## Docker's commands that are not there

Each says so, and what does the same:

%m

## Docker's options that are refused

Nothing that Docker knows is dropped silently. These options of `run` and `create` are refused, with the reason:

"""


def _functions() -> str:
    from hypercontainer.cli.template_functions import FUNCTIONS

    return ", ".join(f"`{name}`" for name in sorted(FUNCTIONS))


def _refused() -> Iterator[str]:
    from hypercontainer.cli.container_options import CREATE_OPTIONS

    reasons: dict[str, list[str]] = {}
    for option in CREATE_OPTIONS:
        if option.kind == REFUSED:
            reasons.setdefault(option.help, []).append(f"`--{option.name}`")
    yield "| options | reason |"
    yield "| --- | --- |"
    for reason, names in reasons.items():
        yield f"| {', '.join(names)} | {reason} |"


def _missing() -> Iterator[str]:
    from hypercontainer.cli.missing import MISSING

    reasons: dict[tuple[str, str], list[str]] = {}
    for verb, said in sorted(MISSING.items()):
        reasons.setdefault(said, []).append(f"`{verb}`")
    yield "| command | reason | instead |"
    yield "| --- | --- | --- |"
    for (reason, instead), verbs in reasons.items():
        yield f"| {', '.join(verbs)} | {reason} | {instead.replace('|', chr(92) + '|')} |"


def commands() -> Iterator[tuple[str, Command]]:
    """Every command under the name it is documented by, in the order of the overview."""
    for verb, place in table.verbs().items():
        yield verb, load(place)
    for family, (_, members) in table.FAMILIES.items():
        for member, target in members.items():
            if not isinstance(target, str):
                yield f"{family} {member}", load(target)


def load(place: tuple[str, str, str]) -> Command:
    found = getattr(import_module(f"hypercontainer.cli.commands.{place[0]}"), place[1])
    assert isinstance(found, Command)
    return found


def _block(text: str) -> list[str]:
    return ["```text", *text.rstrip("\n").splitlines(), "```", ""]


def reference() -> str:
    head = HEAD.replace("%s", _functions()).replace("%m", "\n".join(_missing()))
    lines = [head + "\n".join(_refused()), "", "## Overview", ""]
    lines += _block(overview(GLOBAL_OPTIONS))
    for name in table.FAMILIES:
        lines += [f"### hyper {name}", "", *_block(family_help(name))]
    lines += ["## Commands", ""]
    for name, command in commands():
        lines += [f"### hyper {name}", "", *_block(command_help(name, command))]
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
