# Completion of sudbox for bash. sudbox itself says what fits.
_sudbox() {
    # bash splits words at `:` and `=` too; the words are made anew from the line.
    local line=${COMP_LINE:0:COMP_POINT} IFS=$' \t\n' words found current
    read -a words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[${#words[@]} - 1]}
    IFS=$'\n'
    found=($(SUDBOX_COMPLETE=bash _CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) \
        "${words[0]/#\~/$HOME}" -- "${words[@]}" 2>/dev/null))
    # bash replaces only what follows the last `:` or `=`.
    COMPREPLY=("${found[@]#"${current%"${current##*[:=]}"}"}")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
}
complete -o bashdefault -o default -F _sudbox sudbox
