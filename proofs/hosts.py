"""Two hosts on one machine: network namespaces with names, addresses and a wire between them. Needs root."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

BECOME = 'hostname "$NODE"; mount --bind "$HOSTS" /etc/hosts; exec "$@"'
OWN_FOLDER = 'mount --bind "$OWN" "$PRIVATE"; exec "$@"'


def why_no_hosts() -> str | None:
    """Returns why hosts cannot be made here; None where they can."""
    for tool in ("ip", "nsenter", "unshare"):
        if shutil.which(tool) is None:
            return f"there is no `{tool}`"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"hftune-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespaces: {made.stderr.strip()}"
    _ip("netns", "del", name)
    return None


class Hosts:
    """node1 and node2, with a wire; use it with `with`, which leaves no process and no namespace behind."""

    names = ("node1", "node2")
    addresses = ("10.77.0.1", "10.77.0.2")

    def __init__(self) -> None:
        self._spaces = [f"hftune-{os.getpid()}-{name}" for name in self.names]

    def __enter__(self) -> "Hosts":
        one, two = self._spaces
        pairs = zip(self.addresses, self.names, strict=True)
        known = ["127.0.0.1 localhost", *(f"{address} {name}" for address, name in pairs)]
        self._folder = Path(tempfile.mkdtemp(prefix="hftune-hosts-"))
        (self._folder / "hosts").write_text("\n".join(known) + "\n")
        for space in self._spaces:
            _ip("netns", "add", space)
        _ip("link", "add", "eth0", "netns", one, "type", "veth", "peer", "name", "eth0", "netns", two)
        for space, address in zip(self._spaces, self.addresses, strict=True):
            _ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", space, "link", "set", device, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for number, space in enumerate(self._spaces):
            self.kill(number)
            _ip("netns", "del", space)
        shutil.rmtree(self._folder)

    def start(
        self, host: int, words: Sequence[object], said: Path, private: Path | None = None, **env: str
    ) -> subprocess.Popen:
        """Starts a program on a host, in a session of its own.

        Args:
            host: 0 or 1.
            words: Its command line.
            said: Gets what it prints.
            private: A folder in whose place this host has an empty one, which nobody else sees.
            **env: Further variables.
        """
        variables = {**os.environ, **env, "NODE": self.names[host], "HOSTS": str(self._folder / "hosts")}
        line = ["nsenter", f"--net=/run/netns/{self._spaces[host]}", "unshare", "--uts", "--mount"]
        line += ["sh", "-c", BECOME, "sh"]
        if private:
            variables |= {"PRIVATE": str(private), "OWN": tempfile.mkdtemp(dir=self._folder)}
            line += ["sh", "-c", OWN_FOLDER, "sh"]
        line += map(str, words)
        with said.open("ab") as output:
            return subprocess.Popen(
                line, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def signal(self, host: int, signum: int) -> None:
        """Sends a signal to every process of a host."""
        found = subprocess.run(
            ["ip", "netns", "pids", self._spaces[host]], capture_output=True, text=True, check=True
        )
        for pid in found.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signum)

    def kill(self, host: int) -> None:
        """Kills every process of a host."""
        self.signal(host, signal.SIGKILL)

    def cut(self) -> None:
        """Cuts the wire: what is sent goes to nobody, and nobody is told, as where a switch fails."""
        for space, other in zip(self._spaces, reversed(self.addresses), strict=True):
            nowhere = ["lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent"]
            _ip("-n", space, "neigh", "replace", other, *nowhere)

    def repair(self) -> None:
        """Joins the wire again."""
        for space, other in zip(self._spaces, reversed(self.addresses), strict=True):
            _ip("-n", space, "neigh", "del", other, "dev", "eth0")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
