"""The real hub client and psybuild, both against the test hub: the same files, the same notes beside them, and each
finds the other's download complete. The client's success also says that the test hub is a hub."""
import json
import os
import shutil
import subprocess
import sys

REPOSITORY = "test/model"
TOKEN = "hf_conformance"
NOTES = os.path.join(".cache", "huggingface")
SECONDS_MAX = 120

# name: the server's options, psybuild's source besides "hub", the client's options
DOWNLOADS = {
    "plain": ([], {}, []),
    "pages": (["--page-size", "2"], {}, []),
    "patterns": ([], {"include": ["*.json", "sub/"], "exclude": ["b*"]},
                 ["--include", "*.json", "--include", "sub/*", "--exclude", "b*"]),
    "dataset": (["--type", "datasets"], {"type": "dataset"}, ["--repo-type", "dataset"]),
    "private": (["--private", "--token", TOKEN], {}, []),
    "gated": (["--gated", "--token", TOKEN], {}, []),
    "mirror": (["--direct"], {}, []),
    "renamed": (["--renamed-from", "old/name"], {"hub": "old/name"}, []),
}
EXCHANGES = ["client takes psybuild's", "psybuild takes the client's", "psybuild takes the client's cache",
             "client takes psybuild's offline", "client refuses what psybuild refuses"]


def planned():
    for name in [*DOWNLOADS, *EXCHANGES]:
        yield "hub", name


class Server:
    """The test hub over a directory, for the length of a with block."""

    def __init__(self, program, root, log, options):
        self.command = [program, "--root", root, "--repo", REPOSITORY, "--log", log, "--until-eof", *options]
        self.log = log

    def __enter__(self):
        if os.path.exists(self.log):
            os.remove(self.log)
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url, self.commit = (self.process.stdout.readline().strip() for _ in range(2))
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def content_requests(self):
        """Requests that carry a file's bytes."""
        with open(self.log, encoding="utf-8") as file:
            return [line.strip() for line in file
                    if line.startswith(("storage GET", "home GET")) and ("/storage/" in line or "/resolve" in line)]

    def forget(self):
        open(self.log, "w", encoding="utf-8").close()


def make_files(root):
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(os.path.join(root, "sub", "deep"))
    contents = {"config.json": b"{\"a\": 1}\n", "b.json": b"{}\n", "empty": b"", "sub/a b+c#%.txt": b"hi\n",
                "sub/deep/tokenizer.json": b"[" + b"1," * 2000 + b"1]", ".gitattributes": b"*.bin filter=lfs\n",
                "model-00001-of-00002.safetensors": bytes(range(256)) * 80000,  # two ranges
                "model-00002-of-00002.safetensors": bytes(range(255)) * 1000}
    for name, content in contents.items():
        with open(os.path.join(root, name), "wb") as file:
            file.write(content)


def files_of(directory):
    """Path: content, of all but the notes of the client."""
    found = {}
    for path, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name != ".cache"]
        for name in names:
            with open(os.path.join(path, name), "rb") as file:
                found[os.path.relpath(file.name, directory)] = file.read()
    return found


def notes_of(directory):
    """Path: text without times, of the notes; locks are there or not as each client likes."""
    found = {}
    for path, _, names in os.walk(os.path.join(directory, NOTES)):
        for name in names:
            with open(os.path.join(path, name), encoding="utf-8") as file:
                text = file.read()
            relative = os.path.relpath(file.name, directory)
            if name.endswith(".metadata"):
                text = "\n".join(text.split("\n")[:2])
            if os.path.basename(path) == "trees":
                text = json.dumps(json.loads(text), sort_keys=True)
            if not name.endswith(".lock"):
                found[relative] = text
    return found


def differences(what, ours, theirs):
    found = []
    for path in sorted({*ours, *theirs}):
        if path not in ours or path not in theirs:
            found.append(f"{what} {path}: only {'the client' if path in theirs else 'psybuild'} has it")
        elif ours[path] != theirs[path]:
            found.append(f"{what} {path}: {ours[path][:60]!r}, not {theirs[path][:60]!r}")
    return found


class Hub:
    def __init__(self, psybuild, work, report):
        self.psybuild, self.report = psybuild, report
        self.work = os.path.join(work, "hub")
        self.server_program = os.path.join(os.path.dirname(psybuild), "tests", "hub_server")
        self.root, self.log = os.path.join(self.work, "root"), os.path.join(self.work, "requests")

    def environment(self, server, home="home", offline=False):
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
        more = {"HF_ENDPOINT": server.url, "HF_HOME": os.path.join(self.work, home), "HF_TOKEN": TOKEN,
                "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        if "--token" not in server.command:
            del more["HF_TOKEN"]
        return {**kept, **more, **({"HF_HUB_OFFLINE": "1"} if offline else {})}

    def run_client(self, server, *options, **about):
        client = os.path.join(os.path.dirname(sys.executable), "hf")
        return subprocess.run([client, "download", *options], env=self.environment(server, **about), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS_MAX, check=False)

    def run_psybuild(self, server, directory, source, **about):
        """Builds the source DIRECTORY of a manifest beside it."""
        place = os.path.join(self.work, "build")
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, "psybuild.json"), "w", encoding="utf-8") as file:
            json.dump({"psybuild": 1, "sources": {directory: {"hub": REPOSITORY, **source}}}, file)
        return subprocess.run([self.psybuild, directory], cwd=place, env=self.environment(server, **about), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS_MAX, check=False)

    def run(self, name):
        shutil.rmtree(self.work, ignore_errors=True)
        make_files(self.root)
        found = self.download(*DOWNLOADS[name]) if name in DOWNLOADS else self.exchange(name)
        if found:
            self.report.fail(f"hub {name}", found)
        else:
            self.report.ok(f"hub {name}", "as the client")

    def path(self, name):
        return os.path.join(self.work, "build", name)

    def download(self, server_options, source, client_options):
        with Server(self.server_program, self.root, self.log, server_options) as server:
            repository = source.get("hub", REPOSITORY)
            theirs = self.run_client(server, repository, *client_options, "--local-dir", self.path("theirs"))
            if theirs.returncode != 0:
                return [f"the client fails: {theirs.stdout[-500:]}"]
            ours = self.run_psybuild(server, "ours", source)
            if ours.returncode != 0:
                return [f"psybuild fails: {ours.stdout[-500:]}"]
            found = differences("file", files_of(self.path("ours")), files_of(self.path("theirs")))
            return found + differences("note", notes_of(self.path("ours")), notes_of(self.path("theirs")))

    def exchange(self, name):
        with Server(self.server_program, self.root, self.log, []) as server:
            if name == "client takes psybuild's":
                first = self.run_psybuild(server, "m", {})
                server.forget()
                second = self.run_client(server, REPOSITORY, "--local-dir", self.path("m"))
            elif name == "client takes psybuild's offline":
                first = self.run_psybuild(server, "m", {})
                server.forget()
                second = self.run_client(
                    server, REPOSITORY, "--revision", server.commit, "--local-dir", self.path("m"), offline=True)
            elif name == "psybuild takes the client's":
                first = self.run_client(server, REPOSITORY, "--local-dir", self.path("m"))
                server.forget()
                second = self.run_psybuild(server, "m", {})
            elif name == "psybuild takes the client's cache":
                first = self.run_client(server, REPOSITORY)
                server.forget()
                second = self.run_psybuild(server, "m", {})
            else:
                return self.refusals(server)
            for result in (first, second):
                if result.returncode != 0:
                    return [f"it fails: {result.stdout[-500:]}"]
            fetched = [f"fetched again: {line}" for line in server.content_requests()]
            return fetched + differences("file", files_of(self.path("m")), files_of(self.root))

    def refusals(self, server):
        """What both must refuse: another repository, another revision."""
        found = []
        for source, options in (({"hub": "test/none"}, ["test/none"]),
                                ({"revision": "nowhere"}, [REPOSITORY, "--revision", "nowhere"])):
            theirs = self.run_client(server, *options, "--local-dir", self.path("theirs"))
            ours = self.run_psybuild(server, "ours", source)
            if theirs.returncode == 0 or ours.returncode == 0:
                found.append(f"{source}: the client ends with {theirs.returncode}, psybuild with {ours.returncode}")
        return found
