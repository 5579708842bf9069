#!/bin/sh
# Runs one command when this director becomes ready for traffic and another when it no longer is: with these, a routing daemon announces the
# service addresses exactly while packets for them are welcome. docs/running.md has the use with BIRD and ExaBGP.
#
#   follow-ready.sh 'birdc enable gue_services' 'birdc disable gue_services'
#
# One service by itself, so that only its address is withdrawn when its pool fails: SERVICE=NAME; one script for each.
#
#   SERVICE=web follow-ready.sh 'birdc enable gue_web' 'birdc disable gue_web'
#
# Not ready also means: draining, no serving backend. Checked every second (FOLLOW_EVERY seconds); not ready is said at once, ready after RISE good
# looks in a row (default 3), so that a flapping director is not announced. No answer counts as not ready after FALL looks (default 3): a director
# that is being upgraded does not answer for a moment. The director is asked where it listens (metrics.listen; 127.0.0.1:6079 unless CHECK says
# otherwise), not through its configuration file: a wrong file on disk changes nothing of a director that runs.
set -u
on=$1
off=$2
every=${FOLLOW_EVERY:-1}
rise=${RISE:-3}
fall=${FALL:-3}
check=${CHECK:-gue-director status --listen 127.0.0.1:6079 --check ready${SERVICE:+ --service "$SERVICE"}}
good=0
silent=0
state=unknown

trap 'sh -c "$off"; exit 0' TERM INT
while :; do
  sh -c "$check" >/dev/null 2>&1
  code=$?
  if [ "$code" -eq 0 ]; then
    silent=0
    good=$((good + 1))
    if [ "$good" -ge "$rise" ] && [ "$state" != on ]; then
      sh -c "$on" && state=on
    fi
  else
    good=0
    silent=$((silent + 1))
    # 1 is the director's own word.
    if [ "$code" -eq 1 ]; then silent=$fall; fi
    if [ "$silent" -ge "$fall" ] && [ "$state" != off ]; then
      sh -c "$off" && state=off
    fi
  fi
  sleep "$every" &
  wait $!
done
