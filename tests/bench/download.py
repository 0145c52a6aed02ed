"""Downloads of four shards from nginx on loopback, against the hub's own client, aria2c and curl.

The test hub lists and redirects, nginx is the storage host. psybuild verifies what it fetches, and syncs it; a peer
verifies nothing, so sha256sum is added for it."""
import json
import os
import shutil
import socket
import subprocess
import sys
import time

import tools

SHARDS = 4
REPOSITORY = "bench/model"
BLOCK = 4 << 20
BESIDE = "curl -Z beside SHA-256"
# Of as many bytes as the argument says, in one buffer: libcrypto's, without a file.
HASHING = """
import _hashlib, sys
digest, buffer = _hashlib.openssl_sha256(), bytes(256 << 10)
for _ in range(int(sys.argv[1]) // len(buffer)):
    digest.update(buffer)
"""
NGINX = """
{user}
worker_processes 2;
pid {work}/nginx.pid;
error_log {work}/nginx.errors;
events {{ }}
http {{
    access_log off; sendfile on; tcp_nopush on;
    client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
    uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
    server {{ listen 127.0.0.1:{port}; location /storage/ {{ alias {work}/storage/; }} }}
}}
"""


def make_shards(root, size_gb):
    """Shards of random bytes, made once."""
    os.makedirs(root, exist_ok=True)
    size = int(size_gb * 1e9) // SHARDS // BLOCK * BLOCK
    paths = [os.path.join(root, f"model-{i + 1:05}-of-{SHARDS:05}.safetensors") for i in range(SHARDS)]
    for path in paths:
        if os.path.exists(path) and os.path.getsize(path) == size:
            continue
        with open(path, "wb") as file:
            for _ in range(size // BLOCK):
                file.write(os.urandom(BLOCK))
    return paths


def hash_of(path):
    return subprocess.run(["openssl", "dgst", "-sha256", "-r", path], capture_output=True, text=True,
                          check=True).stdout.split()[0]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Hub:
    """nginx and the test hub, for the length of a with block."""

    def __init__(self, bench, work, shards):
        self.bench, self.work, self.port = bench, work, free_port()
        storage = os.path.join(work, "storage")
        os.makedirs(storage)
        hashes = [hash_of(path) for path in shards]
        for path, name in zip(shards, hashes):
            os.symlink(path, os.path.join(storage, name))
        self.urls = [f"http://127.0.0.1:{self.port}/storage/{name}" for name in hashes]
        self.root = os.path.dirname(shards[0])
        self.size = sum(os.path.getsize(path) for path in shards)

    def __enter__(self):
        conf = os.path.join(self.work, "nginx.conf")
        with open(conf, "w", encoding="ascii") as file:
            file.write(NGINX.format(work=self.work, port=self.port, user="user root;" if os.getuid() == 0 else ""))
        subprocess.run(["nginx", "-e", os.path.join(self.work, "nginx.errors"), "-c", conf, "-p", self.work], check=True)
        self.server = subprocess.Popen(
            [self.bench.program("hub_server"), "--root", self.root, "--repo", REPOSITORY, "--until-eof",
             "--storage-url", f"http://127.0.0.1:{self.port}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.server.stdout.readline().strip()
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        self.server.wait()
        with open(os.path.join(self.work, "nginx.pid"), encoding="ascii") as file:
            os.kill(int(file.read()), 15)
        time.sleep(0.5)


def peers(hub):
    """name: its command, its environment. Each downloads to the directory it runs in."""
    client = os.path.join(os.path.dirname(sys.executable), "hf")
    to_hub = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": os.path.join(hub.work, "home"),
              "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    found = {}
    if os.path.exists(client):
        download = [client, "download", REPOSITORY, "--local-dir", "m"]
        found["hf download, hf_xet installed"] = (download, to_hub)
        found["hf download, HF_HUB_DISABLE_XET=1"] = (download, {**to_hub, "HF_HUB_DISABLE_XET": "1"})
    if shutil.which("aria2c"):
        with open(os.path.join(hub.work, "urls"), "w", encoding="ascii") as file:
            file.write("\n".join(hub.urls) + "\n")
        found["aria2c -x8"] = (["aria2c", "-q", "-x8", "-s8", f"-j{SHARDS}", "--file-allocation=none", "-d", "m", "-i",
                                file.name], {})
    if shutil.which("curl"):
        found["curl -Z"] = (["curl", "-fsS", "-Z", "--no-progress-meter", "--create-dirs", "--output-dir", "m",
                             "--remote-name-all", *hub.urls], {})
        # It verifies nothing: what downloading and hashing cost these processors by the same libraries.
        found[BESIDE] = (["sh", "-c", 'size=$1 python=$2 code=$3; shift 3; "$python" -c "$code" "$size" & "$@" && wait $!',
                          "sh", str(hub.size), sys.executable, HASHING, *found["curl -Z"][0]], {})
    return found


def run_once(bench, directory, hub, command, environment):
    for name in os.listdir(directory):
        tools.remove(os.path.join(directory, name))
    with open(os.path.join(directory, "psybuild.json"), "w", encoding="ascii") as file:
        json.dump({"psybuild": 1, "sources": {"m": {"hub": REPOSITORY}}}, file)
    os.sync()
    return bench.measure(*command, cwd=directory, env=environment)[0]


def run(bench):
    if not shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"):
        print("SKIPPED download: nginx is not installed")
        return
    os.environ["PATH"] += ":/usr/sbin"
    shards = make_shards(os.path.join(bench.work, "shards"), bench.options.download)
    place = bench.options.download_to or bench.work
    to_hub = {"HF_HUB_OFFLINE": "0", "HF_HOME": os.path.join(bench.work, "no-cache")}
    tools.warm(shards)
    with bench.directory("download-hub") as work, Hub(bench, work, shards) as hub:
        directory = os.path.join(place, "download")
        os.makedirs(directory, exist_ok=True)
        commands = {"psybuild": ([bench.psybuild, "-q", "m"], {**to_hub, "HF_ENDPOINT": hub.url}), **peers(hub)}
        costs = {name: [] for name in commands}
        for _ in range(bench.reps):  # in turn, so that what else the machine does meets all
            for name, (command, environment) in commands.items():
                costs[name].append(run_once(bench, directory, hub, command, environment))
        tools.remove(directory)
        costs = {name: tools.Cost.median(each) for name, each in costs.items()}
        verify = tools.Cost.median(bench.measure("sha256sum", *shards, times=bench.reps))
    report(hub.size, bench.reps, place, costs, verify)


def report(size, reps, place, costs, verify):
    ours = costs["psybuild"]
    rows = []
    for name, cost in costs.items():
        row = [name, tools.time_text(cost.seconds), tools.time_text(cost.user + cost.system),
               tools.mib(cost.peak_kib), "–", f"{ours.seconds / cost.seconds:.2f} ×", "–"]
        if name == BESIDE:
            row[3] = "–"  # of several processes
        else:
            whole = cost.seconds + (0 if name == "psybuild" else verify.seconds)
            row[4], row[6] = tools.time_text(whole), f"{ours.seconds / whole:.2f} ×"
        rows.append(row)
    print(f"\n{size / 1e9:.2f} GB in {SHARDS} shards from nginx on loopback to {place}; {reps} runs, medians; "
          f"sha256sum of all takes {tools.time_text(verify.seconds)}:")
    tools.table(["", "download", "processor", "peak", "verified", "psybuild / download", "psybuild / verified"], rows)
