# Runs a whole Swift until one of its parts ends. In a mount namespace of its own, for the place of swift.conf is fixed, and in a
# process namespace of its own, which ends with this script.
#
# start.sh DIR MEMCACHED-PORT ACCOUNT-PORT CONTAINER-PORT OBJECT-PORT
set -e
mount --bind "$1/etc" /etc/swift
cd "$1/etc"
/usr/bin/python3 ../rings.py "$3" "$4" "$5"
cd ..
memcached -u root -l 127.0.0.1 -p "$2" -U 0 -m 16 &
for part in account container object proxy; do
    # Verbose is what sends the log to standard error: there is no syslog.
    "swift-$part-server" "etc/$part-server.conf" --verbose >"$part.log" 2>&1 &
done
wait -n
