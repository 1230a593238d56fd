#!/bin/bash
# Makes lifecycle.pb.go and lifecycle_grpc.pb.go from lifecycle.proto. Needs protoc (package protobuf-compiler); the two
# generators are built in a temporary folder, at the versions named here.
set -euo pipefail

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
GOBIN=$tools go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$tools go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2

# From the root, so that the file has a name in protobuf's registry that no other has.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$tools:$PATH protoc \
	--go_out=. --go_opt=module=github.com/zferry/zferry \
	--go-grpc_out=. --go-grpc_opt=module=github.com/zferry/zferry \
	plugin/boundary/lifecycle.proto
