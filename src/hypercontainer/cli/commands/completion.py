"""hyper completion."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module

from hypercontainer.cli import table
from hypercontainer.cli.options import REFUSED, Call, Command, UsageError

SCRIPT = """# bash completion for hyper; load it with: source <(hyper completion bash)
_hyper() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} verb= sub= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
            -H|--host|--config|-l|--log-level) ((i++)) ;;
            -*) ;;
            *) if [[ -z $verb ]]; then verb=${{COMP_WORDS[i]}}; elif [[ -z $sub ]]; then sub=${{COMP_WORDS[i]}}; fi ;;
        esac
    done
    local words= before=${{COMP_WORDS[COMP_CWORD-1]}}
    [[ $before != = ]] || before=${{COMP_WORDS[COMP_CWORD-2]}}
    if [[ $before == --network || $before == --net ]]; then
        COMPREPLY=($(compgen -W "none user $(hyper network ls --format '{{{{.Name}}}}' 2>/dev/null)" -- "$word"))
        return
    fi
    case $verb in
        '') words='{verbs}' ;;
{families}
    esac
    case "$verb $sub" in
{options}
    esac
    if [[ $word != -* && -n $verb ]]; then
        case $verb in
            {of_containers}) words+=" $(hyper ps -a --format '{{{{.Names}}}}' 2>/dev/null)" ;;
            {of_running})
                words+=" $(hyper ps --format '{{{{.Names}}}}' 2>/dev/null)" ;;
            {of_images})
                words+=" $(hyper images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' 2>/dev/null)" ;;
        esac
        case "$verb $sub" in
            'pod '|'volume '|'network '|'ports '|'generate '|'pod create'|'volume create'|'network create') ;;
            'pod '*|'ports '*|'generate kube'|'kube generate')
                words+=" $(hyper pod ls --format '{{{{.Name}}}}' 2>/dev/null)" ;;
            'volume '*) words+=" $(hyper volume ls -q 2>/dev/null)" ;;
            'network '*)
                words+=" $(hyper network ls --format '{{{{.Name}}}}' 2>/dev/null)"
                [[ $sub != *connect ]] || words+=" $(hyper ps -a --format '{{{{.Names}}}}' 2>/dev/null)" ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    [[ ${{#COMPREPLY[@]}} -gt 0 ]] || COMPREPLY=($(compgen -f -- "$word"))
}}
complete -o filenames -F _hyper hyper
"""


def _options(place: tuple[str, str, str]) -> str:
    command: Command = getattr(import_module(f"hypercontainer.cli.commands.{place[0]}"), place[1])
    names = [f"--{option.name}" for option in command.options if option.kind != REFUSED]
    return " ".join([*sorted(names), "--help"])


def script() -> str:
    verbs = table.verbs()
    families, options = [], []
    for verb, place in verbs.items():
        options.append(f"        '{verb} '*) words='{_options(place)}' ;;")
    for name, (_, members) in table.FAMILIES.items():
        families.append(f"        {name}) [[ -n $sub ]] || words='{' '.join(members)}' ;;")
        for member, target in members.items():
            found = verbs[target] if isinstance(target, str) else target
            options.append(f"        '{name} {member}') words='{_options(found)}' ;;")
    return SCRIPT.format(
        verbs=" ".join([*verbs, *table.FAMILIES]),
        families="\n".join(families),
        options="\n".join(options),
        of_containers="|".join(table.OF_CONTAINERS),
        of_running="|".join(table.OF_RUNNING),
        of_images="|".join(table.OF_IMAGES),
    )


FISH = """# fish completion for hyper; load it with: hyper completion fish | source
function __hyper_words
    set -l skipped 0
    for word in (commandline -opc)[2..-1]
        if test $skipped = 1
            set skipped 0
            continue
        end
        switch $word
            case -H --host --config --log-level
                set skipped 1
            case '-*'
            case '*'
                echo $word
        end
    end
end
function __hyper_is
    set -l words (__hyper_words)
    set -l count (count $argv)
    test (count $words) -ge $count; and test "$words[1..$count]" = "$argv"
end
function __hyper_begins
    test (count (__hyper_words)) = (count $argv); and begin
        test (count $argv) = 0; or __hyper_is $argv
    end
end
complete -c hyper -f
"""
_LISTS = {
    "containers": "hyper ps -a --format '{{.Names}}'",
    "running": "hyper ps --format '{{.Names}}'",
    "images": "hyper images --format '{{.Repository}}:{{.Tag}}'",
    "pods": "hyper pod ls --format '{{.Name}}'",
    "volumes": "hyper volume ls -q",
    "networks": "hyper network ls --format '{{.Name}}'",
    "policies": "hyper policy ls -q",
}
_OF_FAMILIES = {
    "pod": "pods",
    "ports": "pods",
    "volume": "volumes",
    "network": "networks",
    "policy": "policies",
    "generate": "pods",
}
_OF_OPTIONS = {"network": "networks", "net": "networks", "network-policy": "policies"}  # their values


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_options(words: str, place: tuple[str, str, str]) -> Iterator[str]:
    command: Command = getattr(import_module(f"hypercontainer.cli.commands.{place[0]}"), place[1])
    for option in command.options:
        if option.kind != REFUSED:
            short = f" -s {option.short}" if option.short else ""
            value = " -r" if option.takes_value else ""
            if option.name in _OF_OPTIONS:
                value += f" -a {_fish_list(_OF_OPTIONS[option.name])}"
            about = _fish_quoted(option.help)
            yield f"complete -c hyper -n '__hyper_is {words}'{short} -l {option.name}{value} -d {about}"


def _fish_names(words: str, kind: str) -> str:
    return f"complete -c hyper -n '__hyper_is {words}' -a {_fish_list(kind)}"


def _fish_list(kind: str) -> str:
    return _fish_quoted(f"({_LISTS[kind]} 2>/dev/null)")


def fish() -> str:
    lines = []
    verbs = table.verbs()
    named = [("containers", table.OF_CONTAINERS), ("running", table.OF_RUNNING), ("images", table.OF_IMAGES)]
    for verb, place in verbs.items():
        lines.append(f"complete -c hyper -n __hyper_begins -a {verb} -d {_fish_quoted(place[2])}")
        lines += _fish_options(verb, place)
        lines += [_fish_names(verb, kind) for kind, known in named if verb in known]
    for family, (summary, members) in table.FAMILIES.items():
        lines.append(f"complete -c hyper -n __hyper_begins -a {family} -d {_fish_quoted(summary)}")
        for member, target in members.items():
            place = verbs[target] if isinstance(target, str) else target
            about = _fish_quoted(place[2])
            lines.append(f"complete -c hyper -n '__hyper_begins {family}' -a {member} -d {about}")
            lines += _fish_options(f"{family} {member}", place)
            if family in _OF_FAMILIES and member not in ("create", "ls", "prune"):
                lines.append(_fish_names(f"{family} {member}", _OF_FAMILIES[family]))
            if member.endswith("connect"):
                lines.append(_fish_names(f"{family} {member}", "containers"))
    return FISH + "\n".join(lines) + "\n"


ZSH = """#compdef hyper
# zsh completion for hyper, by zsh's own stand-in for bash's; load it with: source <(hyper completion zsh)
autoload -U +X compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
"""


def zsh() -> str:
    return ZSH + script()


SHELLS = {"bash": script, "zsh": zsh, "fish": fish}


def run(call: Call) -> int:
    shell = call.arguments[0]
    if shell not in SHELLS:
        raise UsageError(f"no completion for {shell!r}", hint=", ".join(SHELLS), exit_status=1)
    sys.stdout.write(SHELLS[shell]())
    return 0


COMPLETION = Command(
    run,
    "bash|zsh|fish",
    count=(1, 1),
    examples=(
        "source <(hyper completion bash)",
        "source <(hyper completion zsh)",
        "hyper completion fish | source",
    ),
)
