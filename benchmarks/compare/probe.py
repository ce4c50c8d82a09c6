"""``python -m benchmarks.compare.probe``: which peers this interpreter has, as JSON."""

from __future__ import annotations

import json
import platform
import sys
import sysconfig

from benchmarks.compare.peers import BY_LEVEL


def probe() -> dict[str, object]:
    """The interpreter, how its extension modules end, and each peer's version or the reason why there is none."""
    peers: dict[str, dict[str, str]] = {}
    for by_name in BY_LEVEL.values():
        for name, peer in by_name.items():
            reason = peer.missing()
            peers[name] = {"missing": reason} if reason else {"version": peer.version()}
    return {
        "python": platform.python_version(),
        "minor": sys.version_info.minor,
        "suffix": sysconfig.get_config_var("EXT_SUFFIX"),
        "peers": peers,
    }


if __name__ == "__main__":
    print(json.dumps(probe()))
