"""hyper completion."""

from __future__ import annotations

import sys
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
    local words=
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
            'pod '|'volume '|'ports '|'generate '|'pod create'|'volume create') ;;
            'pod '*|'ports '*|'generate kube'|'kube generate')
                words+=" $(hyper pod ls --format '{{{{.Name}}}}' 2>/dev/null)" ;;
            'volume '*) words+=" $(hyper volume ls -q 2>/dev/null)" ;;
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


def run(call: Call) -> int:
    if call.arguments[0] != "bash":
        raise UsageError(f"no completion for {call.arguments[0]!r}", hint="bash", exit_status=1)
    sys.stdout.write(script())
    return 0


COMPLETION = Command(run, "bash", count=(1, 1), examples=("source <(hyper completion bash)",))
