"""A real Kubernetes control plane on the loopback, without a container.

API server, scheduler, controllers and etcd are the ones of a cluster; nodes are pretended by KWOK,
which says of every pod at once that it runs. So what is admitted, stored, scheduled, spread, rolled
and evicted here is so on a cluster; what happens in a pod is not.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from support.certificates import certificates
from triton_local.server import HERE as BESIDE_TETHER

Object = dict[str, Any]
T = TypeVar("T")
VARIABLE = "TAMIS_CONTROL_PLANE"
ROOT = Path(__file__).resolve().parents[2]
PIECES = ROOT / "tools" / "control_plane"
INSTALLED = ROOT / ".tools" / "control-plane"
PATIENCE_S = 60
HOST = "127.0.0.1"


class NoControlPlane(Exception):
    """There is none to run; says what is missing."""


class Refused(Exception):
    """kubectl failed; says what it and the API server said."""


def installed() -> Path:
    """The directory that `make control-plane` made. Raises NoControlPlane."""
    where = Path(os.environ.get(VARIABLE, INSTALLED))
    if not (where / ".installed").is_file():
        raise NoControlPlane(f"none in {where}; `make control-plane` builds it")
    for program in ("kubectl", "openssl"):
        if shutil.which(program) is None:
            raise NoControlPlane(f"{program} is not there")
    return where


@dataclass(frozen=True)
class Said:
    """What kubectl printed: about the objects, and beside it (warnings)."""

    out: str
    err: str


class ControlPlane:
    """Ready once entered, with the nodes of cluster.yaml; killed on exit, and with us."""

    def __init__(self, directory: Path, definitions: Sequence[Path] = ()) -> None:
        """directory: where it keeps its data and logs. definitions: of custom resources, which
        are there before the controllers start: they'd be busy with news of them for half a minute.
        Raises NoControlPlane."""
        self._programs = installed()
        self._work = directory
        self._definitions = definitions
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._kubeconfig = directory / "kubeconfig"

    def __enter__(self) -> Self:
        try:
            self._start()
        except (Refused, RuntimeError) as error:
            self.stop()
            raise RuntimeError(f"no control plane: {error}\n{self.logs()}") from error
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """At once: asked kindly, the API server would wait for its etcd."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def logs(self, lines: int = 15) -> str:
        """The end of what each process logged."""
        return "\n".join(
            f"--- {path}\n" + "\n".join(path.read_text("utf-8", "replace").splitlines()[-lines:])
            for path in sorted(self._work.glob("*.log"))
        )

    def kubectl(self, *arguments: str | Path, given: object = None) -> Said:
        """What it said. ``given``: an object for its input. Raises Refused."""
        done = subprocess.run(
            self._command(arguments),
            input=None if given is None else json.dumps(given),
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            env=self._environment,
            check=False,
        )
        if done.returncode:
            raise Refused(f"kubectl {' '.join(map(str, arguments))}: {done.stderr}{done.stdout}")
        return Said(done.stdout, done.stderr)

    @contextmanager
    def kubectl_meanwhile(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Runs beside us, what it complains of to be read; killed on exit if it still does."""
        with subprocess.Popen(
            self._command(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def get(self, *arguments: str) -> Object:
        found: Object = json.loads(self.kubectl("get", "-o", "json", *arguments).out)
        return found

    def all(self, *arguments: str) -> Sequence[Object]:
        items: Sequence[Object] = self.get(*arguments)["items"]
        return items

    def wait(self, what: str, *arguments: str) -> None:
        """Until ``what`` is so of an object (`kubectl wait --for`), or Refused."""
        self.kubectl("wait", f"--for={what}", f"--timeout={PATIENCE_S}s", *arguments)

    def moment(self, path: str) -> Object:
        """What a ``path`` of the API with a query selects, as it is now."""
        found: Object = json.loads(self.kubectl("get", "--raw", path).out)
        return found

    def since(self, moment: Object, path: str) -> Sequence[Object]:
        """What happened to it from then on, in order."""
        query = f"watch=1&resourceVersion={moment['metadata']['resourceVersion']}"
        # it tells what was at once, and then would wait for what comes
        said = self.kubectl("get", "--raw", f"{path}&{query}&timeoutSeconds=1").out
        return [json.loads(line) for line in said.splitlines()]

    @property
    def _environment(self) -> Mapping[str, str]:
        """Nothing of the user's own is read or written: no configuration, no cache."""
        return {"PATH": os.environ["PATH"], "HOME": str(self._work)}

    def _command(self, arguments: Sequence[str | Path]) -> Sequence[str | Path]:
        return ["kubectl", f"--kubeconfig={self._kubeconfig}", *arguments]

    def _start(self) -> None:
        store, peers, port = _free_ports(3)
        made = certificates(self._work)
        self._configure(f"https://{HOST}:{port}", made.authority)
        self._run(
            "etcd",
            f"--data-dir={self._work / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls=http://{HOST}:{store}",
            f"--advertise-client-urls=http://{HOST}:{store}",
            f"--listen-peer-urls=http://{HOST}:{peers}",
        )
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://{HOST}:{store}",
            f"--bind-address={HOST}",
            f"--secure-port={port}",
            f"--tls-cert-file={made.certificate}",
            f"--tls-private-key-file={made.key}",
            f"--token-auth-file={self._work / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={made.certificate}",
            f"--service-account-signing-key-file={made.key}",
        )
        self._await_ready()
        self._define()
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={self._kubeconfig}",
            f"--service-account-private-key-file={made.key}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--horizontal-pod-autoscaler-sync-period=1s",
            "--node-monitor-grace-period=1h",  # pretend nodes are well, however busy this machine
        )
        self._run("kube-scheduler", f"--config={self._work / 'scheduler.yaml'}", "--secure-port=0")
        self._run(
            "kwok",
            f"--kubeconfig={self._kubeconfig}",
            "--manage-all-nodes=true",
            "-v=WARN",
            f"--config={self._programs / 'stages.yaml'}",
        )
        self.kubectl("create", "-f", PIECES / "cluster.yaml")
        self.wait("condition=Ready", "nodes", "--all")
        self.wait("create", "serviceaccount/default")

    def _define(self) -> None:
        if self._definitions:
            files = [f"--filename={each}" for each in self._definitions]
            # whole, they are too large for the annotation that a client's apply leaves
            self.kubectl("apply", "--server-side", *files)
            self.wait("condition=Established", "crds", "--all")

    def _configure(self, server: str, authority: Path) -> None:
        token = secrets.token_hex(16)
        (self._work / "tokens.csv").write_text(f"{token},tests,1,system:masters\n")
        cluster = {"server": server, "certificate-authority": str(authority)}
        configuration = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "own", "cluster": cluster}],
            "users": [{"name": "tests", "user": {"token": token}}],
            "contexts": [{"name": "own", "context": {"cluster": "own", "user": "tests"}}],
            "current-context": "own",
        }
        self._kubeconfig.write_text(yaml.safe_dump(configuration))
        # no spreading but what manifests ask for
        spread = {"defaultingType": "List", "defaultConstraints": []}
        kind = {"apiVersion": "kubescheduler.config.k8s.io/v1"}
        plugin = {
            "name": "PodTopologySpread",
            "args": kind | {"kind": "PodTopologySpreadArgs"} | spread,
        }
        scheduler = kind | {
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "clientConnection": {"kubeconfig": str(self._kubeconfig)},
            "profiles": [{"pluginConfig": [plugin]}],
        }
        (self._work / "scheduler.yaml").write_text(yaml.safe_dump(scheduler))

    def _run(self, program: str, *options: str) -> None:
        with (self._work / f"{program}.log").open("wb") as log:
            self._processes[program] = subprocess.Popen(
                [sys.executable, BESIDE_TETHER / "tether.py", self._programs / program, *options],
                cwd=self._work,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for pytest, whose fixtures then stop it
            )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for program, process in self._processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{program} ended {process.returncode}")
            try:
                self.kubectl("get", "--raw=/readyz")
                return
            except Refused:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)


def _free_ports(count: int) -> Sequence[int]:
    held = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def until(ask: Callable[[], T], wanted: T) -> None:
    """For what no `kubectl wait` can say."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := ask()) != wanted:
        assert time.monotonic() < deadline, f"{found} is not {wanted}"
        time.sleep(0.1)
