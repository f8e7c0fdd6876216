"""Fetch a model into the Hugging Face cache:  python - MODEL_ID CACHE_DIR

Prints JSON lines: {"done_bytes", "total_bytes"} about once a second, then {"path"} or {"error"}.
Needs only huggingface_hub. Files in formats that MLX does not read are left out.
"""

import fnmatch
import json
import os
import sys
import threading

LEFT_OUT = [
    "*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.onnx", "*.msgpack", "*.h5", "*.ot", "*.tflite",
    "onnx/*", "openvino/*", "original/*", "*.png", "*.jpg", "*.gif", "*.mp4",
]  # fmt: skip


def say(**line):
    print(json.dumps(line), flush=True)


def bytes_under(folder):
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                pass  # moved into place meanwhile
    return total


def main(model, cache):
    from huggingface_hub import HfApi, snapshot_download

    files = HfApi().model_info(model, files_metadata=True).siblings or []
    total = sum(
        f.size or 0 for f in files if not any(fnmatch.fnmatch(f.rfilename, p) for p in LEFT_OUT)
    )
    blobs = os.path.join(cache, "models--" + model.replace("/", "--"), "blobs")
    ended = threading.Event()

    def watch():
        while not ended.wait(1.0):
            try:
                say(done_bytes=min(bytes_under(blobs), total), total_bytes=total)
            except OSError:
                os._exit(1)  # nobody listens any more; what was fetched is kept

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        path = snapshot_download(model, cache_dir=cache, ignore_patterns=LEFT_OUT)
    finally:
        ended.set()
        watcher.join()
    say(path=path)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except Exception as error:  # noqa: BLE001: whatever it is, it is for the person who asked
        first_line = (str(error).strip().splitlines() or [""])[0]
        say(error=f"{type(error).__name__}: {first_line}")
        sys.exit(1)
