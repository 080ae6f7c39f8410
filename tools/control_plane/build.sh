#!/usr/bin/env bash
# Builds a Kubernetes control plane from Go modules into $1: the API server, its scheduler and controllers,
# etcd, and KWOK, which pretends to be nodes. 0.4 GB; six minutes on two cores,
# half a minute once Go has it in its cache.
set -euo pipefail

kubernetes=1.36.3
etcd=3.6.5
kwok=0.7.0

for tool in go kubectl; do
  command -v "$tool" >/dev/null || { echo "a control plane is built with $tool, and there is none" >&2; exit 2; }
done
rm -f "$1/.installed"
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GOFLAGS=-mod=mod

# A FIELD of what Go knows of MODULE@VERSION
of() { go mod download "$1" && go list -m -f "{{.$2}}" "$1"; }

# k8s.io/kubernetes takes its parts from folders beside it, which `go install` refuses: a module of
# our own takes them as they were published.
mkdir "$work/kubernetes" && cd "$work/kubernetes"
go mod init control-plane 2>/dev/null
go mod edit -require "k8s.io/kubernetes@v$kubernetes"
parts=$(sed -nE 's|^[[:space:]]*(k8s.io/[a-z-]+) => ./staging/.*|\1|p' "$(of "k8s.io/kubernetes@v$kubernetes" GoMod)")
for part in $parts; do
  go mod edit -replace "$part=$part@v0.${kubernetes#*.}"
done
say=k8s.io/component-base/version
minor=${kubernetes#*.}
for program in kube-apiserver kube-controller-manager kube-scheduler; do
  go build -o "$out/$program" \
    -ldflags "-s -w -X $say.gitVersion=v$kubernetes -X $say.gitMajor=1 -X $say.gitMinor=${minor%.*}" \
    "k8s.io/kubernetes/cmd/$program"
done

mkdir "$work/etcd" && cd "$work/etcd"
go mod init store 2>/dev/null
go mod edit -require "go.etcd.io/etcd/server/v3@v$etcd"
go build -ldflags "-s -w" -o "$out/etcd" go.etcd.io/etcd/server/v3

GOBIN=$out go install -ldflags "-s -w" "sigs.k8s.io/kwok/cmd/kwok@v$kwok"
# what becomes of a pretend node or pod, and when
stages=$(of "sigs.k8s.io/kwok@v$kwok" Dir)/kustomize/stage
{ kubectl kustomize "$stages/node/fast"; echo ---; kubectl kustomize "$stages/pod/fast"; } > "$out/stages.yaml"

echo "Kubernetes $kubernetes, etcd $etcd, KWOK $kwok" > "$out/.installed"
