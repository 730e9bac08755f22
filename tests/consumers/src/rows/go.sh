# SPDX-License-Identifier: BSD-2-Clause
# The Go example, built by Debian's compiler; with go-tpm where the release packages it (Debian 13 and later).
export PKG_CONFIG_PATH=/usr/lib/$(cc -print-multiarch)/tss2-tcti-rs/pkgconfig
cp -r /examples/go .
if [ -d /usr/share/gocode/src/github.com/google/go-tpm/tpm2/transport ]; then
    (cd go && GO111MODULE=off GOPATH=/usr/share/gocode go build -tags gotpm -o random .)
else
    (cd go && go build)
fi
test "$(go/random "$TCTI" | wc -c)" -eq 33
