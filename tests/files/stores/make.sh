#!/usr/bin/env bash
# Makes a store as an old version leaves it, for the tests of upgrades: make.sh PROGRAM NAME
# PROGRAM is that version's sandbox build. The store holds one of everything that people have.
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
for session in shop clinic; do
  call POST /api/v1/sessions "{\"sessionId\":\"$session\"}"
done
call POST /sandbox/scan '{"sessionId":"shop","phone":"6281200000001"}'
call POST /sandbox/scan '{"sessionId":"clinic","phone":"6281200000002"}'
for session in shop clinic; do
  until call GET /api/v1/sessions/$session | grep -q CONNECTED; do sleep 0.1; done
done
for n in 1 2 3; do
  call POST '/api/v1/messages?sessionId=shop' "{\"to\":\"628120000010$n\",\"type\":\"text\",\"text\":{\"body\":\"before $n\"}}"
  call POST "/sandbox/phones/628120000010$n/messages" '{"to":"6281200000002","text":"a question"}'
done
printf '%%PDF-1.4 a price list' >"$work/prices.pdf"
curl -sS --fail-with-body "$url/api/v1/media?sessionId=shop" -H "X-Master-Key: $key" -F "file=@$work/prices.pdf;type=application/pdf"
call POST '/api/v1/recipient-lists?sessionId=shop' '{"name":"Guests","recipients":[{"number":"6281200000201","name":"Ani"},{"number":"6281200000202","name":"Budi"}]}'
call POST '/api/v1/campaigns?sessionId=shop' '{"name":"Opening","message":{"content":"Hello {{name}}"},"recipients":[{"number":"6281200000201","name":"Ani"}],"scheduledAt":"2099-01-01T00:00:00Z"}'
call POST '/api/v1/webhook?sessionId=shop' '{"url":"http://127.0.0.1:9/nobody","events":["message.received"]}'
kill %1
wait %1 || true
tar -C "$work" --owner=0 --group=0 --sort=name -czf "$here/$name.tar.gz" data
tar -tzvf "$here/$name.tar.gz"
