// SPDX-License-Identifier: BSD-2-Clause

// Program random asks a TPM for random bytes, has it hash a message, and compares the digest with Go's own:
//
//	go get github.com/google/go-tpm@v0.9.3
//	go build -tags gotpm && ./random swtpm:port=2321
//
// Built with the tag gotpm, its commands are go-tpm's (gotpm.go). Without the tag it needs no other package: plain.go
// restates go-tpm's interface and encodes the two commands itself.
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: random NAME:CONF")
	}
	tpm, err := Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer tpm.Close()

	random, err := getRandom(tpm, 16)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%x\n", random)

	message := []byte("a message")
	digest, err := hash(tpm, message)
	if err != nil {
		log.Fatal(err)
	}
	if expected := sha256.Sum256(message); !bytes.Equal(digest, expected[:]) {
		log.Fatalf("the TPM returned another digest: %x", digest)
	}
}
