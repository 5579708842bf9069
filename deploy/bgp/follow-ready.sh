#!/bin/sh
# Runs one command when this director becomes ready for traffic and another when it no longer is: with these, a routing daemon announces the
# service addresses exactly while packets for them are welcome. docs/running.md has the use with BIRD and ExaBGP.
#
#   follow-ready.sh 'birdc enable gue_services' 'birdc disable gue_services'
#
# Not ready also means: draining, no serving backend, no director. Checked every second (FOLLOW_EVERY seconds); not ready is said at once, ready
# after RISE good looks in a row (default 3), so that a flapping director is not announced.
set -u
on=$1
off=$2
every=${FOLLOW_EVERY:-1}
rise=${RISE:-3}
check=${CHECK:-gue-director status --check ready}
good=0
state=unknown

trap 'sh -c "$off"; exit 0' TERM INT
while :; do
  if sh -c "$check" >/dev/null 2>&1; then
    good=$((good + 1))
    if [ "$good" -ge "$rise" ] && [ "$state" != on ]; then
      sh -c "$on" && state=on
    fi
  else
    good=0
    if [ "$state" != off ]; then
      sh -c "$off" && state=off
    fi
  fi
  sleep "$every" &
  wait $!
done
