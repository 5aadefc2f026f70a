"""Keys stay inside the process: no core dump, no tracing, not in its environment or its words, and no pickle.

Not claimed: that keys are gone from memory. CPython neither wipes nor locks what it frees; whoever reads the
memory of a running process reads its keys.
"""

import base64
import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crm.catalogue import KeyClass
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from tests.conftest import Databases
from tests.keys import ENV
from tests.processes import founded, serving

ROOT = Path(__file__).resolve().parents[2]
ORG, ANNA = "org-1", "0198f0c2-7a00-7000-8000-000000000001"


def test_e38_keys_are_neither_pickled_nor_copied_nor_shown(tmp_path: Path) -> None:
    """Data keys, key sets, key rings and the cipher beneath refuse to leave the process, and print as nothing."""
    ring = KeyRing.create(tmp_path / "keyring.json")
    keys = KeySet.load(ring, ENV, KeySet.bootstrap(ring, ENV))
    key, new = keys.new_data_key(ORG, ANNA, KeyClass.PREFERENCE, 1)
    for secret in (key, ring, keys, AESGCM(bytes(32))):
        for leave in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                leave(secret)
    assert f"{key} {key!r} {keys} {ring}" == "*** *** *** ***"
    assert new.wrapped.hex() not in repr(new)
    assert str(new.wrapped) not in repr(new)


def test_e38_process_leaves_no_core_and_cannot_be_traced() -> None:
    """After hardening, core dumps are off and, on Linux, the process is not dumpable; before, it was."""
    program = (
        "import ctypes, resource, sys\n"
        "from crm.crypto.process import harden_process\n"
        "dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) if sys.platform == 'linux' else 0\n"
        "before = dumpable()\n"
        "harden_process()\n"
        "print(before, dumpable(), *resource.getrlimit(resource.RLIMIT_CORE))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.split()[1:] == ["0", "0", "0"]
    if sys.platform == "linux":
        assert ended.stdout.split()[0] == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_e38_running_server_shows_no_key(databases: Databases, tmp_path: Path) -> None:
    """A real server: no core dumps, another user's own files in /proc, and no root key in its environment or words."""
    settings = founded(tmp_path, databases.create("sqlite"))
    secrets = [base64.b64decode(key["key"]) for key in json.loads((tmp_path / "keyring.json").read_bytes())["keys"]]
    forms = [form for key in secrets for form in (key, key.hex().encode(), base64.b64encode(key))]
    control = os.environb.get(b"PATH", b"")[:12]
    with serving("serve", until="/readyz", **settings) as running:
        place = Path(f"/proc/{running.process.pid}")
        # Of a process that is not dumpable these files are root's; only root can look at all (proc(5)).
        assert (place / "environ").stat().st_uid == 0
        limit = next(line for line in (place / "limits").read_text().splitlines() if "core file size" in line)
        assert limit.split()[4:6] == ["0", "0"]
        if os.geteuid() == 0:
            shown = (place / "environ").read_bytes() + (place / "cmdline").read_bytes()
            assert control in shown
            assert not [form for form in forms if form in shown]
        assert not [form for form in forms if form in running.said.encode()]
