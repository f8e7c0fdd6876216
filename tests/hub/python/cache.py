#!/usr/bin/env python3
"""Fetches a model with the built gateway from the hub of tests/hub, and asks the Hugging Face tools' own
library whether the cache is complete; the other way round, a model that the library fetched is one of
the gateway's library. Ends everything it started."""

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

WITHIN_S = 120
SIZES = {"model-00001-of-00002.safetensors": 300_000, "model-00002-of-00002.safetensors": 200_001}


def bytes_of(name, size):
    block = hashlib.sha256(name.encode()).digest()
    return (block * (size // len(block) + 1))[:size]


def put_model(folder):
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "sub/notes.txt").write_text("hello")
    (folder / "README.md").write_text("# A model\n")
    for name, size in SIZES.items():
        (folder / name).write_bytes(bytes_of(folder.name + name, size))
    weights = dict(zip(["a", "b"], SIZES, strict=True))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


@contextlib.contextmanager
def running_hub(program, root):
    command = [program, "--root", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--hub", required=True)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ["pulled", "theirs"]:
            put_model(folder / "hub" / "org" / name)
        with running_hub(asked.hub, folder / "hub") as endpoint:
            check(asked.gateway, folder, endpoint)
    print("the Hugging Face library and the gateway see the same cache")


def check(gateway, folder, endpoint):
    cache = folder / "cache"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HF_HUB_CACHE": str(cache),
        "HF_ENDPOINT": endpoint,
    }
    (folder / "config.toml").write_text("")
    options = ["--config", str(folder / "config.toml"), "--data-dir", str(folder / "data")]

    def run(*arguments):
        command = [gateway, *options, "models", *arguments]
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True, timeout=WITHIN_S
        ).stdout

    run("pull", "org/pulled")

    # Read when they are imported.
    os.environ.update({"HF_HUB_CACHE": str(cache), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"})
    os.environ.pop("HF_TOKEN", None)
    from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache

    report = scan_cache_dir(cache)
    assert not report.warnings, report.warnings
    (repo,) = report.repos
    (revision,) = repo.revisions
    assert repo.repo_id == "org/pulled" and revision.refs == {"main"}, repo
    assert len(revision.files) == 6, revision.files
    source = folder / "hub/org/pulled"
    assert repo.size_on_disk == sum(f.stat().st_size for f in source.rglob("*") if f.is_file())

    snapshot = Path(snapshot_download("org/pulled", local_files_only=True, cache_dir=cache))
    for file in (path for path in source.rglob("*") if path.is_file()):
        name = str(file.relative_to(source))
        assert (snapshot / name).read_bytes() == file.read_bytes(), name
        assert try_to_load_from_cache("org/pulled", name, cache_dir=cache), name

    # Over the wire the library finds that nothing is missing.
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("blobs/*")}
    snapshot_download("org/pulled", cache_dir=cache)
    assert before == {path: path.stat().st_mtime_ns for path in cache.rglob("blobs/*")}

    snapshot_download("org/theirs", cache_dir=cache)
    listed = {model["id"]: model for model in json.loads(run("ls", "--json"))["models"]}
    assert sorted(listed) == ["org/pulled", "org/theirs"], listed
    assert listed["org/theirs"]["complete"], listed
    last = json.loads(run("pull", "org/theirs", "--json").splitlines()[-1])
    assert last["status"] == "completed", last


if __name__ == "__main__":
    main()
