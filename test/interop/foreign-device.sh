#!/usr/bin/env bash
# A device of somebody else: nothing but openssl, curl and the mosquitto clients. Enrolls, connects, receives its bundle,
# downloads the artifact that the bundle names and compares the hash; then knocks on every door that must stay shut.
#
# Needs: HOST, DEVICE_PORT, MQTT_PORT, CA (root.pem), PROFILE, TOKEN, SERIAL, MODEL, HARDWARE_ID
# Optional, for the refusals: OTHER_DEVICE (an id), EXPIRED_CERT and EXPIRED_KEY (ours, but too old),
#   API (https://host:port/api/v1) and API_KEY (to revoke itself at the end)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
say() { printf 'ok  %s\n' "$*"; }
die() { printf 'BAD %s\n' "$*" >&2; exit 1; }
est="https://$HOST:$DEVICE_PORT/.well-known/est"
mqtt() { local tool=$1; shift; timeout 20 "$tool" -h "$HOST" -p "$MQTT_PORT" --cafile "$CA" -V mqttv311 -q 1 "$@"; }

# --- enroll ------------------------------------------------------------------------------------------------------
openssl ecparam -name prime256v1 -genkey -noout -out key.pem 2>/dev/null
openssl req -new -key key.pem -subj "/CN=$SERIAL/serialNumber=$SERIAL" -outform DER -out req.der
openssl base64 -in req.der -out req.b64
curl -sS --max-time 20 --fail --cacert "$CA" "$est/cacerts" | openssl base64 -d | openssl pkcs7 -inform DER -print_certs -out cacerts.pem
grep -q 'BEGIN CERTIFICATE' cacerts.pem || die 'cacerts holds no certificate'
enroll() { curl -sS --max-time 20 --cacert "$CA" -u "$PROFILE:$1" -H 'Content-Type: application/pkcs10' -H 'Content-Transfer-Encoding: base64' --data-binary "@$2" -o "$3" -w '%{http_code} %{content_type}' "$est/simpleenroll"; }
[ "$(enroll wrong-token req.b64 refused)" = '401 text/plain; charset=utf-8' ] || die 'a wrong token was not refused with 401'
answer=$(enroll "$TOKEN" req.b64 cert.b64)
[ "$answer" = '200 application/pkcs7-mime; smime-type=certs-only' ] || die "enrollment: $answer: $(cat cert.b64)"
openssl base64 -d -in cert.b64 | openssl pkcs7 -inform DER -print_certs | openssl x509 -out cert.pem
[ "$(enroll "$TOKEN" req.b64 again.b64)" = "$answer" ] || die 'the same request again was not answered'
cmp -s cert.b64 again.b64 || die 'the same request again gave another certificate'
openssl verify -x509_strict -purpose sslclient -CAfile "$CA" -untrusted cacerts.pem cert.pem >/dev/null || die 'openssl does not accept the certificate'
id=$(openssl x509 -in cert.pem -noout -ext subjectAltName | sed -n 's/.*URI:urn:uuid:\([0-9a-f-]*\).*/\1/p')
[ ${#id} = 36 ] || die 'no device id in the certificate'
say "enrolled as $id"

# --- say hello, receive the bundle -------------------------------------------------------------------------------
mine=(--cert cert.pem --key key.pem -i "$id")
runs="{\"component\":\"main\",\"version\":\"1.0.0\",\"build\":100,\"svn\":1,\"sha256\":\"$(printf 'factory image' | openssl dgst -sha256 -r | cut -d' ' -f1)\"}"
hello="{\"agent\":\"foreign-device.sh\",\"model\":\"$MODEL\",\"hardwareIds\":[\"$HARDWARE_ID\"],\"installed\":[$runs],\"nonce\":\"$(openssl rand -hex 16)\"}"
mqtt mosquitto_pub "${mine[@]}" -t "fleetseal/v1/$id/hello" -m "$hello" || die 'hello was not acknowledged'
for _ in 1 2 3 4 5; do
  mqtt mosquitto_sub "${mine[@]}" -t "fleetseal/v1/$id/bundle" -C 1 -W 20 >bundle.json || die 'no bundle came'
  # The target appears in the director's targets; until the rollout met this device there is none.
  grep -q 'x-deployment' bundle.json && break; sleep 1
done
sha=$(grep -o '\\"deviceId\\":\\"'"$id"'.*' bundle.json | grep -o '\\"hashes\\":{\\"sha256\\":\\"[0-9a-f]\{64\}' | head -1 | grep -o '[0-9a-f]\{64\}$') || die 'the bundle names no artifact'
say "received its bundle ($(wc -c <bundle.json) bytes), which names $sha"

# --- download, in two pieces -------------------------------------------------------------------------------------
fetch() { curl -sS --max-time 20 --cacert "$CA" --cert "$1" --key "$2" -o "$3" -w '%{http_code}' "${@:4}" "https://$HOST:$DEVICE_PORT/artifacts/$sha"; }
[ "$(fetch cert.pem key.pem part -r 0-99999)" = 206 ] || die 'no partial content'
[ "$(fetch cert.pem key.pem rest -r 100000-)" = 206 ] || die 'no remainder'
cat part rest >image
[ "$(openssl dgst -sha256 -r image | cut -d' ' -f1)" = "$sha" ] || die 'the hash of the download differs'
say "downloaded $(wc -c <image) bytes, hash as signed"

# --- doors that must stay shut -----------------------------------------------------------------------------------
refused() {
  local what=$1 code=0; shift
  "$@" >out.txt 2>&1 || code=$?
  # A tool that is missing, or that was never asked, refuses nothing.
  case $code in 0) cat out.txt; die "accepted: $what" ;; 126 | 127) cat out.txt; die "could not be tried: $what" ;; esac
  say "refused: $what"
}
# mosquitto_sub connects again for ever, so only the absence of a SUBACK says that it was not let in.
deaf() {
  local what=$1; shift
  mqtt mosquitto_sub -d "$@" -C 1 -W 3 >out.txt 2>&1 || true
  grep -q 'sending SUBSCRIBE' out.txt || { cat out.txt; die "could not be tried: $what"; }
  ! grep -q 'received SUBACK' out.txt || { cat out.txt; die "accepted: $what"; }
  say "refused: $what"
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout self.key -out self.pem -days 2 -subj "/CN=$id" 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca2.key -out ca2.pem -days 2 -subj '/CN=Another CA' 2>/dev/null
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout alien.key -subj "/CN=$id" -out alien.req 2>/dev/null
openssl x509 -req -in alien.req -CA ca2.pem -CAkey ca2.key -CAcreateserial -days 2 -out alien.pem 2>/dev/null
knock() { mqtt mosquitto_pub "$@" -t "fleetseal/v1/$id/event" -m '{"kind":"knock","at":"2026-01-01T00:00:00Z"}'; }
mqtt mosquitto_pub "${mine[@]}" -t "fleetseal/v1/$id/event" -m '{"kind":"knock","at":"2026-01-01T00:00:00Z"}' || die 'its own topic was refused'
refused 'a self-signed certificate' knock --cert self.pem --key self.key -i "$id"
refused 'a certificate of an unknown CA' knock --cert alien.pem --key alien.key -i "$id"
refused 'no certificate' knock -i "$id"
refused 'a self-signed certificate at HTTPS' curl -sS --max-time 20 --fail --cacert "$CA" --cert self.pem --key self.key "https://$HOST:$DEVICE_PORT/artifacts/$sha" -o /dev/null
if [ -n "${EXPIRED_CERT:-}" ]; then refused 'an expired certificate' knock --cert "$EXPIRED_CERT" --key "$EXPIRED_KEY" -i "$id"; fi
if [ -n "${OTHER_DEVICE:-}" ]; then
  refused "publishing as another device" mqtt mosquitto_pub "${mine[@]}" -t "fleetseal/v1/$OTHER_DEVICE/report" -m '{}'
  deaf "reading another device's bundle" "${mine[@]}" -t "fleetseal/v1/$OTHER_DEVICE/bundle"
  refused 'the client id of another device' mqtt mosquitto_pub --cert cert.pem --key key.pem -i "$OTHER_DEVICE" -t "fleetseal/v1/$OTHER_DEVICE/event" -m '{}'
fi
deaf 'everything (#)' "${mine[@]}" -t '#'

# --- revoked, with a TLS session kept from before ----------------------------------------------------------------
if [ -n "${API:-}" ]; then
  tls=(-connect "$HOST:$MQTT_PORT" -servername "$HOST" -CAfile "$CA" -cert cert.pem -key key.pem -quiet -no_ign_eof)
  # An MQTT 3.1.1 CONNECT, clean session, keepalive 60, with the client id.
  connect() { printf '\x10\x30\x00\x04MQTT\x04\x02\x00\x3c\x00\x24%s' "$id"; sleep 1; }
  for version in tls1_2 tls1_3; do
    connect | openssl s_client "${tls[@]}" "-$version" -sess_out "$version.session" 2>/dev/null >"$version.before" || true
    [ "$(head -c 4 "$version.before" | od -An -tx1 | tr -d ' \n')" = 20020000 ] || die "$version: no CONNACK before the revocation"
  done
  curl -sS --max-time 20 --fail --cacert "$CA" -H "Authorization: Bearer $API_KEY" -H 'Content-Type: application/json' \
    -d '{"action":"revoke","reason":"key compromise, says the test"}' "$API/devices/$id/actions" >/dev/null || die 'the revocation was refused'
  crl=$(openssl x509 -in cert.pem -noout -ext crlDistributionPoints | sed -n 's/.*URI:\(http.*\)/\1/p')
  curl -sS --max-time 20 --fail "$crl" | openssl crl -inform DER -noout -text | tr -d ' :' | grep -qi "$(openssl x509 -in cert.pem -noout -serial | cut -d= -f2)" || die 'the CRL does not hold the certificate'
  say 'the CRL holds the certificate when the call answers'
  for version in tls1_2 tls1_3; do
    connect | openssl s_client "${tls[@]}" "-$version" -sess_in "$version.session" 2>/dev/null >"$version.after" || true
    [ "$(head -c 4 "$version.after" | od -An -tx1 | tr -d ' \n')" != 20020000 ] || die "$version: a revoked device resumed its session"
    say "refused: revoked, resuming a $version session"
  done
  refused 'revoked, MQTT' knock "${mine[@]}"
  refused 'revoked, download' curl -sS --max-time 20 --fail --cacert "$CA" --cert cert.pem --key key.pem "https://$HOST:$DEVICE_PORT/artifacts/$sha" -o /dev/null
  refused 'revoked, re-enrollment' curl -sS --max-time 20 --fail --cacert "$CA" --cert cert.pem --key key.pem -H 'Content-Type: application/pkcs10' --data-binary @req.b64 "$est/simplereenroll" -o /dev/null
fi
echo 'foreign device: all as it should be'
