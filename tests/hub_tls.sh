#!/bin/sh
# hub_tls.sh - downloads over HTTPS and HTTP/2: nginx with a throw-away authority before the test hub,
# and as the storage host; one of the streams is cut. A certificate of another authority, and one for
# another host, are refused.
# Skipped where nginx or openssl is not installed. Needs $PSYBUILD_SOURCE and $PSYBUILD_BUILD.
set -eu
PATH=$PATH:/usr/sbin
if ! command -v nginx >/dev/null || ! command -v openssl >/dev/null; then
    echo 'hub_tls: SKIPPED: nginx or openssl is not installed'
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi
program=$PSYBUILD_BUILD/psybuild
server=$PSYBUILD_BUILD/tests/hub_server
work=$(mktemp -d "${TMPDIR:-/tmp}/psybuild-tls.XXXXXX")
hub_pid=
trap 'if [ -n "$hub_pid" ]; then kill "$hub_pid" 2>/dev/null || :; fi
[ ! -s "$work/nginx.pid" ] || kill "$(cat "$work/nginx.pid")" 2>/dev/null || :
sleep 0.2
rm -rf "$work"' EXIT
PSYBUILD_DATA_DIR=$PSYBUILD_SOURCE/manifests
HF_HOME=$work/none
export PSYBUILD_DATA_DIR HF_HOME
unset HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_HUB_OFFLINE SSL_CERT_FILE CURL_CA_BUNDLE || :

passed=0
fail() {
    printf 'hub_tls: %s\n' "$1"
    [ ! -e "$work/out" ] || cat "$work/out"
    [ ! -e "$work/nginx.errors" ] || tail -n 5 "$work/nginx.errors"
    printf '%d passed, 1 failed, 0 skipped\n' "$passed"
    exit 1
}
pass() {
    passed=$((passed + 1))
    printf 'ok  %s\n' "$1"
}

# Two authorities; one signs for localhost, the other nothing.
cd "$work"
for name in ours other; do
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$name" -keyout $name.key \
        -out $name.pem >out 2>&1 || fail "openssl makes no authority"
done
openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout site.key -out site.request >out 2>&1
printf 'subjectAltName=DNS:localhost\n' >site.names
openssl x509 -req -in site.request -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 \
    -extfile site.names -out site.pem >out 2>&1 || fail "openssl signs no certificate"

# A small file, and one of two ranges with its hash as its name at the storage host.
mkdir repository storage build
printf '{"a": 1}\n' >repository/config.json
head -c 18000000 /dev/urandom >repository/model.safetensors
hash=$(openssl dgst -sha256 -r repository/model.safetensors | cut -d ' ' -f 1)
ln -s "$work/repository/model.safetensors" "storage/$hash"

# Ports that nobody has: the hub's own choice for one, its neighbours for nginx.
port=$((20000 + $$ % 10000))
"$server" --root repository --port $port --url "https://localhost:$((port + 1))" \
    --storage-url "https://localhost:$((port + 2))" --log requests \
    --fault truncate:/resolve-cache/:1:3 >address 2>&1 &
hub_pid=$!
user=
[ "$(id -u)" -ne 0 ] || user='user root;' # else its workers may not read what root made
cat >nginx.conf <<END
$user
pid $work/nginx.pid;
error_log $work/nginx.errors;
events { }
http {
    log_format protocol '\$server_port \$server_protocol \$status';
    access_log $work/protocols protocol;
    client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3;
    uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
    ssl_certificate $work/site.pem;
    ssl_certificate_key $work/site.key;
    server {
        listen 127.0.0.1:$((port + 1)) ssl http2;
        location / { proxy_pass http://127.0.0.1:$port; }
    }
    server {
        listen 127.0.0.1:$((port + 2)) ssl http2;
        location /storage/ { alias $work/storage/; }
    }
}
END
tries=0
while ! grep -q '^https' address; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || fail "the test hub does not start"
    sleep 0.05
done
nginx -e "$work/nginx.errors" -c "$work/nginx.conf" -p "$work" >out 2>&1 || fail "nginx does not start"

cd build
printf '{"psybuild": 1, "sources": {"m": {"hub": "test/model"}}}\n' >psybuild.json
HF_ENDPOINT=https://localhost:$((port + 1))
export HF_ENDPOINT
SSL_CERT_FILE=$work/ours.pem "$program" m >"$work/out" 2>&1 || fail "the download fails"
cmp -s m/model.safetensors ../repository/model.safetensors || fail "the model is not the hub's"
cmp -s m/config.json ../repository/config.json || fail "config.json is not the hub's"
pass "a repository is downloaded over https"
[ "$(grep -c '^home GET /api/resolve-cache/' ../requests)" -eq 2 ] || fail "no stream was cut"
pass "and a stream that was cut is asked for again"
grep -q "^$((port + 2)) HTTP/2.0 206$" "$work/protocols" || fail "no range came over HTTP/2"
! grep -q ' HTTP/1' "$work/protocols" || fail "a request did not use HTTP/2, which was offered"
pass "with HTTP/2, which is offered"

# refused NAME WORDS: a build from nothing ends with an error that says WORDS, and makes no file.
refused() {
    rm -rf m .psybuild psybuild.lock
    if "$program" m >"$work/out" 2>&1; then fail "$1 is accepted"; fi
    grep -q "no secure connection" "$work/out" || fail "$1: the error does not say what is wrong"
    ! grep -q "tried" "$work/out" || fail "$1 is tried again, which cannot heal it"
    [ ! -e m/config.json ] || fail "$1: a file was made"
    pass "$1 is refused, at once"
}
CURL_CA_BUNDLE=$work/other.pem
export CURL_CA_BUNDLE
refused "a certificate of another authority"
CURL_CA_BUNDLE=$work/ours.pem
HF_ENDPOINT=https://127.0.0.1:$((port + 1))
refused "a certificate for another host"

printf '%d passed, 0 failed, 0 skipped\n' "$passed"
