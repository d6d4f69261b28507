#!/usr/bin/env bash
# Makes a store whose event log holds every event in every shape that a version writes, all of them
# waiting for a webhook that nobody answers, for the tests of upgrades: events.sh PROGRAM NAME
# PROGRAM is that version's sandbox build. What it tells of these events is written beside the store by
# the test (tests/it/upgrade.rs) when that file is not there: run it with that version, too.
set -euo pipefail
program=$1 name=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill %1 2>/dev/null || true; rm -rf "$work"' EXIT
key=a-master-key-of-the-fixture
(cd "$work" && WARUNG_MASTER_KEY=$key exec "$program" sandbox --listen 127.0.0.1:0 --data data >"$work/said" 2>&1) &
until url=$(sed -n 's/^listening on //p' "$work/said") && [ -n "$url" ]; do sleep 0.1; done
call() { # METHOD PATH [JSON]
  curl -sS --fail-with-body -X "$1" "$url$2" -H "X-Master-Key: $key" -H 'Content-Type: application/json' -d "${3-}"
  echo
}
told() { # all events so far
  curl -sS --max-time 1 "$url/api/v1/events?lastEventId=0" -H "X-Master-Key: $key" 2>/dev/null || true
}
wait_for() { # WORDS: until they were told
  for _ in $(seq 150); do
    told | grep -qF -- "$1" && return
  done
  echo "never told: $1" >&2
  told >&2
  exit 1
}
account=6281200000001 ani=6281200000101 budi=6281200000102
says() { # PHONE JSON: it writes to the account; answers the id
  call POST "/sandbox/phones/$1/messages" "{\"to\":\"$account\",$2}" | sed 's/.*"id":"\([^"]*\)".*/\1/'
}
sends() { # JSON: the account sends; answers the id
  call POST '/api/v1/messages?sessionId=shop' "$1" | sed 's/.*"messageId":"\([^"]*\)".*/\1/'
}
deed() { # PHONE WHAT JSON
  call POST "/sandbox/phones/$1/$2" "$3"
}

# The session, and another one that is never linked and has no webhook.
for session in shop clinic; do
  call POST /api/v1/sessions "{\"sessionId\":\"$session\"}"
done
call POST '/api/v1/webhook?sessionId=shop' '{"url":"http://127.0.0.1:9/nobody","secret":"a-secret-of-the-fixture"}'
call POST /sandbox/scan "{\"sessionId\":\"shop\",\"phone\":\"$account\"}"
until call GET /api/v1/sessions/shop | grep -q CONNECTED; do sleep 0.1; done

# No client can make a message of this: after a minute it is told as unreadable.
says $ani '"protobuf":"Cv8="'

# What people write.
first=$(says $ani '"text":"Halo & \"selamat\" <pagi> \\ dunia 👍\nbaris kedua\u2028"')
says $ani "\"text\":\"a reply\",\"quotedId\":\"$first\",\"mentions\":[\"$account\"],\"ephemeral\":86400"
png=$(base64 -w0 "$here/../alpha.png")
says $ani "\"image\":{\"data\":\"$png\",\"mimetype\":\"image/png\",\"caption\":\"a picture\"}"
says $ani "\"image\":{\"data\":\"$png\",\"mimetype\":\"image/png\"},\"viewOnce\":true"
says $ani "\"document\":{\"data\":\"JVBERi0xLjQgYSBwcmljZSBsaXN0\",\"mimetype\":\"application/pdf\",\"fileName\":\"prices.pdf\"}"
says $ani "\"audio\":{\"data\":\"$(base64 -w0 "$here/../voice.ogg")\",\"mimetype\":\"audio/ogg; codecs=opus\",\"seconds\":2,\"voice\":true}"
says $ani '"location":[-6.2,106.816666]'
says $ani '"location":{"latitude":0,"longitude":-0.5,"name":"Kantor","address":"Jalan Merdeka 1"}'
says $ani '"contacts":[{"name":"Budi","phone":"6281200000102"}]'
says $ani '"poll":{"name":"Mana?","options":["A","B"],"selectable":1}'
says $ani '"album":{"images":2,"videos":1}'
for protobuf in \
  `# the answers to buttons and to a form, a list, a template` \
  2gIWCgN5ZXMSAllhGgsKBjNFQjBBQbAEAQ== \
  ggM/CgUKA1RlaBI2CgxtZW51X29wdGlvbnMSJnsiaWQiOiJmbG93LTEiLCJkZXNjcmlwdGlvbiI6ImhhbmdhdCJ9 \
  ogI4CgRNZW51EgVQaWxpaBoEQnVrYSojEhAKBFNhdHUSBXBlZGFzGgFhEg8KA0R1YRIFcGVkYXMaAWI= \
  ygFGIkQyA0lzaUIJCgcKAllhEgF5Qh0SGwoEQnVrYRITaHR0cHM6Ly9leGFtcGxlLmNvbUITGhEKB1RlbGVwb24SBis2MjgxMg== \
  `# an invitation, a place that moves, an event, a call that is planned and one that is not any more` \
  4gEvChcxMjAzNjMwMDAwMDAwMDAwNzdAZy51cxIEQWJDZBiApKfaBiIDVGltMgNheW8= \
  kgEbCc3MzMzMzBjAETMzMzMzs1pAGAwyBWphbGFu \
  2gQYGgVSYXBhdCIJZGkga2FudG9yOICkp9oG \
  6gMSCICg8cKxNBABGgdUZWxlcG9u \
  igQOCgoQABoGM0VCMEVFEAE= \
  `# an order, a product, money that is asked for and then not, a pack of stickers` \
  sgIVCgJvMRgCMgVwZXNhblCoRloDSURS \
  8gEVChMSAnAxGgNUZWgqA0lEUjDAlrEC \
  sgESCgNJRFIQ0IYDIgcKBWJheWFy \
  wgEMCgoQABoGM0VCMERE \
  sgUaCgFzEgZLdWNpbmcaA0FuaSIICgYxLndlYnA= \
  `# pin, keep, disappearing messages, a poll in a wrapper, a comment` \
  +gMOCgoQABoGM0VCMEJCEAE= \
  mgMOCgoQABoGM0VCMEJCEAI= \
  YgYQAyCAowU= \
  6gUeChyKAxkSBkthcGFuPxoHCgVTZW5pbhoGCgRSYWJ1 \
  6gQWCgoKCGRpIGRhbGFtEggaBjNFQjBDQw== \
  `# a call log and a kind of the future, which are told raw` \
  qgQECAEYKg== \
  uqYCDAoKbWFzYSBkZXBhbg==; do
  says $ani "\"protobuf\":\"$protobuf\""
done
# A group changes; somebody writes there.
group=$(call POST /sandbox/groups "{\"subject\":\"Team\",\"participants\":[\"$account\",\"$ani\",\"$budi\"]}" | sed 's/.*"id":"\([^"]*\)".*/\1/')
wait_for "$group"
deed $budi messages "{\"to\":\"$group\",\"text\":\"to all\"}"
wait_for 'to all'

# Changes, signs, votes.
deed $ani edit "{\"to\":\"$account\",\"id\":\"$first\",\"text\":\"corrected\"}"
deed $ani revoke "{\"to\":\"$account\",\"id\":\"$first\"}"
mine=$(sends "{\"to\":\"$ani\",\"type\":\"text\",\"text\":{\"body\":\"like it?\"}}")
poll=$(sends "{\"to\":\"$ani\",\"type\":\"poll\",\"poll\":{\"question\":\"Kapan?\",\"options\":[\"Senin\",\"Rabu\"]}}")
sends "{\"to\":\"$group\",\"type\":\"text\",\"text\":{\"body\":\"to the group\"}}"
until call GET /sandbox/phones/$ani/messages | grep -q 'Kapan?'; do sleep 0.1; done
deed $ani react "{\"id\":\"$mine\",\"emoji\":\"❤️\"}"
deed $ani vote "{\"messageId\":\"$poll\",\"options\":[\"Rabu\"]}"
deed $ani vote "{\"messageId\":\"$poll\",\"options\":[]}"
deed $ani read "{\"id\":\"$mine\"}"
wait_for '"status":"read"'
# A message that WhatsApp refuses.
call POST /sandbox/faults '{"refuse":{"code":463},"count":1}'
call POST '/api/v1/messages?sessionId=shop' "{\"to\":\"$budi\",\"type\":\"text\",\"text\":{\"body\":\"refused\"}}" || true
wait_for '"status":"failed"'

# Calls, with and without picture.
deed $ani call "{\"to\":\"$account\"}"
deed $budi call "{\"to\":\"$account\",\"video\":true}"
# Files that are fetched at once: one that is there and one that is not.
call PUT /api/v1/sessions/shop/settings '{"autoDownload":true}'
says $budi "\"document\":{\"data\":\"YSBuZXcgcHJpY2UgbGlzdA==\",\"mimetype\":\"text/plain\",\"fileName\":\"new.txt\"}"
says $budi '"protobuf":"ugORAQqOARqLARoGc2VrYWxpIiABAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBASjoB0IgAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgJKIAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDWhgvdi90NjIuNzExOC0yNC9pbWFnZS5lbmM="'
wait_for '"mediaId":null'

# A campaign that ends, and one that halts and says why: its file is gone.
file=$(curl -sS --fail-with-body "$url/api/v1/media?sessionId=shop" -H "X-Master-Key: $key" -F "file=@$here/../alpha.png;type=image/png" | sed 's/.*"mediaId":"\([^"]*\)".*/\1/')
opening=$(call POST '/api/v1/campaigns?sessionId=shop' "{\"name\":\"Opening\",\"message\":{\"type\":\"image\",\"content\":\"Hello {{name}}\",\"mediaId\":\"$file\"},\"recipients\":[{\"number\":\"$ani\",\"name\":\"Ani\"}]}" | sed 's/.*"id":"\([^"]*\)".*/\1/')
call POST "/api/v1/campaigns/$opening/send"
wait_for '"status":"completed"'
call DELETE "/api/v1/media/$file?sessionId=shop"
again=$(call POST "/api/v1/campaigns/$opening/clone" | sed 's/.*"id":"\([^"]*\)".*/\1/')
call POST "/api/v1/campaigns/$again/send"
wait_for '"status":"paused"'
# People leave the next ones and come back.
says $budi '"text":"STOP"'
says $budi '"text":"START"'
wait_for '"suppressed":false'
wait_for unreadable
# The phone unlinks in the midst of another.
long=$(call POST '/api/v1/campaigns?sessionId=shop' "{\"name\":\"Long\",\"message\":{\"content\":\"Hello\"},\"recipients\":[\"$ani\",\"$budi\",\"6281200000103\"],\"settings\":{\"delayBetweenMessages\":60000}}" | sed 's/.*"id":"\([^"]*\)".*/\1/')
call POST "/api/v1/campaigns/$long/send"
until call GET /sandbox/phones/$ani/messages | grep -q '"Hello"'; do sleep 0.1; done
deed $account logout '{}'
wait_for 'Logged out'
told >"$work/told"
sed -n 's/^event: //p' "$work/told" | sort | uniq -c
tail -2 "$work/told" # for the test: the last event and its time
kill %1
wait %1 || true
rm -r "$work/data/sandbox.journal" "$work/data/sandbox.media"
tar -C "$work" --owner=0 --group=0 --sort=name -czf "$here/$name.tar.gz" data
tar -tzvf "$here/$name.tar.gz"
