"""The page that fine-tunes, as a folder that any web server can hand out.

python -m tools.web [--out FOLDER]    puts it together (default: _docs/try)
python -m tools.web --serve [PORT]    does that, and serves it to this machine alone

web/try holds what we wrote. Added are the network and its vocabulary, from the assets, and ONNX
Runtime for the web, from the npm registry; both are checked against the hashes that stand here and
in sft_nb/assets.toml, and fetched once.
"""
import argparse
import hashlib
import json
import shutil
import subprocess
import tarfile
from base64 import b64encode
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from sft_nb.assets import get, own_folder
from sft_nb.files import sha256
from sft_nb.mistakes import SFTError

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "web" / "try"
PACKAGE = "onnxruntime-web@1.30.0"
PARCEL = "onnxruntime-web-1.30.0.tgz"
INTEGRITY = ("sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1Sig"
             "qR4CXAfKYQ==")
RUNTIME = {  # name in the package's folder dist -> SHA-256
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm":
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
LARGE = "model/model.onnx", "model/vocab.txt", "ort/ort-wasm-simd-threaded.wasm"


def is_whole(folder):
    "Are the files of the runtime there, and the right ones?"
    return all((folder / name).is_file() and sha256(folder / name) == wanted
               for name, wanted in RUNTIME.items())


def packed(folder):
    "Ask npm for the package. Raises SFTError with the line to type where there is no npm."
    npm = shutil.which("npm")
    by_hand = (f"type `npm pack {PACKAGE}` on a computer that has it and put the file into "
               f"{own_folder('web')}")
    if npm is None:
        raise SFTError(f"The page needs {PACKAGE}, which npm fetches, and npm is not here: install "
                       f"Node.js (`apt-get install nodejs npm`), or {by_hand}.")
    line = [npm, "pack", PACKAGE, "--silent", f"--pack-destination={folder}"]
    done = subprocess.run(line, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if done.returncode:
        *_, last = ["nothing", *(done.stderr + done.stdout).strip().splitlines()]
        raise SFTError(f"npm could not fetch {PACKAGE} ({last.strip()}): try again, or {by_hand}.")
    return folder / PARCEL


def unpack(parcel, folder):
    "The runtime's files out of the package, if it is the registered one, byte by byte."
    found = b64encode(hashlib.sha512(parcel.read_bytes()).digest()).decode()
    if f"sha512-{found}" != INTEGRITY:
        raise SFTError(f"{parcel.name} is not the file that was registered: its SHA-512 is another "
                       "one. Delete it and try again.")
    with tarfile.open(parcel) as archive:
        for name in RUNTIME:
            with archive.extractfile(f"package/dist/{name}") as reader:
                (folder / name).write_bytes(reader.read())


def runtime():
    "The folder with ONNX Runtime for the web; fetched once, and kept beside the assets."
    folder = own_folder("web")
    folder.mkdir(parents=True, exist_ok=True)
    if not is_whole(folder):
        with TemporaryDirectory() as work:
            by_hand = folder / PARCEL
            unpack(by_hand if by_hand.is_file() else packed(Path(work)), folder)
    return folder


def vocabulary():
    "The pieces of minilm's tokenizer, one a line, in the order of their numbers."
    text = (get("minilm") / "tokenizer.json").read_text(encoding="utf-8")
    numbers = json.loads(text)["model"]["vocab"]
    return "".join(f"{piece}\n" for piece in sorted(numbers, key=numbers.get))


def build(out):
    "Put the page together in a folder; gives the folder."
    out = Path(out)
    shutil.copytree(SOURCE, out, dirs_exist_ok=True)
    for name in ("model", "ort"):
        (out / name).mkdir(exist_ok=True)
    ours = runtime()
    for name in RUNTIME:
        shutil.copy(ours / name, out / "ort" / name)
    shutil.copy(get("minilm-int8") / "model.onnx", out / "model" / "model.onnx")
    (out / "model" / "vocab.txt").write_bytes(vocabulary().encode())
    parts = [{"name": name, "bytes": (out / name).stat().st_size} for name in LARGE]
    (out / "parts.json").write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")
    return out


class Handler(SimpleHTTPRequestHandler):
    "Kinds of files as a browser wants them, whatever this machine has been told."
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm",
    }


def serve(folder, port):
    "Hand the folder out to this machine, until Ctrl-C."
    handler = partial(Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def main():
    parser = argparse.ArgumentParser(prog="python -m tools.web", description="The page.")
    parser.add_argument("--out", type=Path, default=ROOT / "_docs" / "try", help="where to")
    parser.add_argument("--serve", type=int, nargs="?", const=8000, metavar="PORT",
                        help="and serve it (port 8000, unless you name one)")
    asked = parser.parse_args()
    try:
        folder = build(asked.out)
    except SFTError as e:
        raise SystemExit(str(e)) from None
    print(folder)
    if asked.serve is not None: serve(folder, asked.serve)


if __name__ == "__main__":
    main()
