# Completion of xe commands, parameters and values for bash: source <(xe --completion)
# The server is asked, so what it offers is what this server knows.

_xe_ask() {
    # the words that say which server and who, then the question
    xe "${_xe_login[@]}" "$@" 2>/dev/null </dev/null
}

_xe_complete() {
    local current=${COMP_WORDS[COMP_CWORD]} line=${COMP_LINE:0:COMP_POINT}
    local word command="" offers="" skip="" i
    local IFS=$' \t\n'
    local -a _xe_login=() words=()
    read -ra words <<<"$line"
    # readline splits at = and :, the line itself is whole
    case $line in *[[:space:]]) current="" ;; *) current=${words[${#words[@]} - 1]} ;; esac
    for ((i = 1; i < ${#words[@]}; i++)); do
        word=${words[i]}
        if [ -n "$skip" ]; then
            _xe_login+=("$word")
            skip=""
            continue
        fi
        case $word in
        -s | -h | -p | -u | -pw | -pwf | --ca-file) _xe_login+=("$word"); skip=1 ;;
        --nossl | --verify-certificate) _xe_login+=("$word") ;;
        server=* | port=* | username=* | password=* | passwordfile=*) _xe_login+=("$word") ;;
        -*) ;;
        *) [ -n "$command" ] || [ "$word" = "$current" -a "$i" -eq $((${#words[@]} - 1)) ] ||
            command=$word ;;
        esac
    done
    if [ -z "$command" ]; then
        offers=$(_xe_ask help --minimal --all)
        _xe_offer "${offers//,/$'\n'}" "$current"
        return
    fi
    _xe_parameters "$command" "$current"
}

_xe_parameters() {
    local command=$1 current=$2 key value class names
    IFS=$' \t\n'
    case $current in
    filename=* | file-name=* | license-file=*)
        COMPREPLY=($(compgen -f -- "${current#*=}"))
        compopt -o filenames 2>/dev/null
        return
        ;;
    *=*)
        key=${current%%=*}
        value=${current#*=}
        _xe_values "$command" "$key"
        names=${names//\\,/$'\001'}
        names=${names//,/$'\n'}
        names=${names//$'\001'/,}
        case $key:$value in
        params:*,*) names=${value%,*},${names//$'\n'/$'\n'"${value%,*},"} ;;  # one more field
        esac
        _xe_offer "$names" "$value"
        return
        ;;
    esac
    names=$(_xe_ask help "$command" | sed -n 's/^ *\(reqd\|optional\) params *: //p' |
        tr ',' '\n' | sed -e 's/^ *//' -e '/^<.*>$/d' -e '/^$/d' -e '/:$/!s/$/=/')
    case $(_xe_ask help "$command") in
    *'<vm-selectors>'*) names="$names vm= uuid=" ;;
    *'<host-selectors>'*) names="$names host= uuid=" ;;
    *'<sr-selectors>'*) names="$names sr= uuid=" ;;
    esac
    names="$names --minimal --force --multiple --output"
    _xe_offer "${names//[[:space:]]/$'\n'}" "$current"
    case ${COMPREPLY[*]} in *= | *:) compopt -o nospace 2>/dev/null ;; esac
}

# Offer the lines of $1 that begin with $2, quoted as a shell reads them.
_xe_offer() {
    local line typed=$2
    typed=${typed//\\/}
    COMPREPLY=()
    while IFS= read -r line; do
        [[ -n $line && $line == "$typed"* ]] || continue
        printf -v line '%q' "$line"
        COMPREPLY+=("${line//\\,/,}")
    done <<<"$1"
}

_xe_values() {
    local command=$1 key=$2 class field=uuid
    case $key in
    uuid)
        class=${command%%-param-*}
        [ "$class" != "$command" ] || class=${command%-list}
        [ "$class" != "$command" ] || class=${command%%-*}
        ;;
    vm | host | sr) class=$key field=name-label ;;
    on) class=host field=name-label ;;
    template | template-name | template-name-label) class=template field=name-label ;;
    params | param-name)
        class=${command%%-param-*}
        [ "$class" != "$command" ] || class=${command%-list}
        names=$(_xe_ask "$class-list" params=all | sed -n 's/^ *\([^ ]*\) *( *[SM]*R[OW]).*/\1/p' |
            sort -u | paste -sd,)
        return
        ;;
    *-uuid) class=${key%-uuid} ;;
    *) names="" && return ;;
    esac
    names=$(_xe_ask "$class-list" params="$field" --minimal)
}

complete -F _xe_complete xe
