"""Completion scripts for bash, zsh and fish: each asks `trimaran __complete` and does what its last line says.

They hold no commands and flags, so that they fit every version of Trimaran.
"""

from __future__ import annotations

_BASH = """\
# bash completion of trimaran
_trimaran() {
    local line="${COMP_LINE:0:COMP_POINT}" current="" directive value kept
    local -a words answer
    read -ra words <<< "$line"
    if [[ $line != *[[:space:]] ]]; then
        current="${words[-1]}"
        unset "words[-1]"
    fi
    mapfile -t answer < <(trimaran __completeNoDesc "${words[@]:1}" "$current" 2>/dev/null)
    directive="${answer[-1]#:}"
    [[ $directive =~ ^[0-9]+$ ]] || return
    unset "answer[-1]"
    # readline replaces what follows the last of its word breaks, of which = and : are in our words
    value="$current"
    [[ $current == -*=* ]] && value="${current#*=}"
    kept=""
    [[ $value == *[=:]* ]] && kept="${value%"${value##*[=:]}"}"
    COMPREPLY=("${answer[@]#"$kept"}")
    if ((directive & 2)); then compopt -o nospace; fi
    if ((directive & 16)); then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$value")
    elif ((${#answer[@]} == 0 && !(directive & 4))); then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "${value#"$kept"}")
    fi
}
complete -F _trimaran trimaran
"""

_ZSH = """\
#compdef trimaran
_trimaran() {
    local directive line tab=$'\\t'
    local -a answer described space
    answer=("${(@f)$(trimaran __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)words[CURRENT]}" 2>/dev/null)}")
    directive="${answer[-1]#:}"
    [[ $directive == <-> ]] || return 1
    answer[-1]=()
    [[ ${words[CURRENT]} == -*=* ]] && compset -P '*='
    for line in "${answer[@]}"; do
        if [[ $line == *$tab* ]]; then
            described+=("${${line%%$tab*}//:/\\\\:}:${line#*$tab}")
        else
            described+=("${line//:/\\\\:}")
        fi
    done
    (( directive & 2 )) && space=(-S '')
    if (( directive & 16 )); then
        _files -/
    elif (( ${#described} )); then
        _describe -t trimaran trimaran described "${space[@]}"
    elif (( ! (directive & 4) )); then
        _files
    fi
}
compdef _trimaran trimaran
"""

_FISH = """\
# fish completion of trimaran
function __trimaran_complete
    set -l words (commandline -opc)
    set -e words[1]
    set -l current (commandline -ct)
    set -l answer (trimaran __complete $words "$current" 2>/dev/null)
    set -l directive (string sub -s 2 -- $answer[-1])
    string match -qr '^[0-9]+$' -- "$directive"; or return
    set -e answer[-1]
    set -l before (string match -r -- '^-[^=]*=' "$current")
    set -l value (string replace -r -- '^-[^=]*=' '' "$current")
    if test (math "bitand($directive, 16)") -ne 0
        __fish_complete_directories "$value" | string replace -r '^' -- "$before"
    else if test (count $answer) -gt 0
        printf '%s\\n' "$before"$answer
    else if test (math "bitand($directive, 4)") -eq 0
        __fish_complete_path "$value" | string replace -r '^' -- "$before"
    end
end
complete -c trimaran -f -a '(__trimaran_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
