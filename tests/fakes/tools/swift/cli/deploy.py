"""``swift deploy``: an OpenAI-compatible service whose reply is the digest of the weights that it loaded.

With ``--adapters NAME=FOLDER …`` it answers under these names, too: with the digest of the weights and the adapter.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

from swift.faults import Faults, read_tensors

OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("--model", type=Path, required=True)
OPTIONS.add_argument("--served_model_name", required=True)
OPTIONS.add_argument("--port", type=int, required=True)
OPTIONS.add_argument("--adapters", nargs="*", default=[])


def chat_server() -> ModuleType:
    """The fake that lies two folders up."""
    spec = importlib.util.spec_from_file_location("chat_server", Path(__file__).parents[3] / "chat_server.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    options, _ = OPTIONS.parse_known_args()
    faults = Faults("deploy")
    weights = read_tensors(options.model / "model.safetensors")
    fake = chat_server()
    named = (adapter.rpartition("=") for adapter in options.adapters)
    added = {
        name: read_tensors(Path(place) / "adapter_model.safetensors") for name, _, place in named if name
    }

    class Handler(fake.Handler):  # type: ignore[name-defined, misc]
        def do_GET(self) -> None:  # noqa: N802  (http.server calls it so)
            names = [options.served_model_name, *added]
            self._send({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})

        def _completion(self, request: dict[str, object]) -> dict[str, object]:
            with fake.Handler.lock:
                faults.at(1 + int(fake.Handler.asked))
            answer = dict(super()._completion(request))
            if adapter := added.get(str(request["model"])):
                answer["choices"][0]["message"]["content"] = hashlib.sha256(weights + adapter).hexdigest()[
                    :12
                ]
            return answer

    name = options.served_model_name
    digest = hashlib.sha256(weights).hexdigest()[:12]
    fake.Handler.options = fake.OPTIONS.parse_args(["--served_model_name", name, "--reply", digest])
    print(json.dumps({"serving": name}), flush=True)
    faults.at(1)
    fake.Server(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
