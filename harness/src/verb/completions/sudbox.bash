# Completion of sudbox for bash. sudbox prints the candidates.
_sudbox() {
    # bash also splits words at `:` and `=`, so the line is split again, at spaces only.
    local line=${COMP_LINE:0:COMP_POINT} IFS=$' \t\n' words found current
    read -a words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[${#words[@]} - 1]}
    IFS=$'\n'
    found=($(SUDBOX_COMPLETE=bash _CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) \
        "${words[0]/#\~/$HOME}" -- "${words[@]}" 2>/dev/null))
    # bash replaces only the text after the last `:` or `=`.
    COMPREPLY=("${found[@]#"${current%"${current##*[:=]}"}"}")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
}
complete -o bashdefault -o default -F _sudbox sudbox
