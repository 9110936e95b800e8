#!/bin/sh
# What ipmi_sim asks of a chassis: <directory> <controller> get|set|check <what> [<value>] ...
# The directory has `power` (0 or 1), `boot`, `calls`, and files that say how the machine behaves: `lies`, `deaf`, `slow`,
# `on_power_on`, `on_power_off`.
dir=$1 verb=$3
shift 3
echo "$verb $*" >> "$dir/calls"

hook() {
    [ ! -s "$dir/$1" ] || "$(cat "$dir/$1")" < /dev/null > /dev/null 2>> "$dir/hooks.log" &
}

power() {
    [ ! -e "$dir/lies" ] || return
    [ "$(cat "$dir/power")" != "$1" ] || return
    echo "$1" > "$dir/power"
    case $1 in
        1) hook on_power_on ;;
        0) hook on_power_off ;;
    esac
}

case $verb in
    get)
        [ ! -e "$dir/slow" ] || sleep "$(cat "$dir/slow")"
        for what; do
            case $what in
                power) echo "power:$(cat "$dir/power")" ;;
                boot) echo "boot:$(cat "$dir/boot")" ;;
                *) echo "$what:0" ;;
            esac
        done ;;
    set)
        while [ $# -gt 1 ]; do
            case $1 in
                power) power "$2" ;;
                shutdown) [ -e "$dir/deaf" ] || power 0 ;;
                reset) [ "$(cat "$dir/power")" = 0 ] || { power 0; power 1; } ;;
                boot) echo "$2" > "$dir/boot" ;;
            esac
            shift 2
        done ;;
esac
exit 0
