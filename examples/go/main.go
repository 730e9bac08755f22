// SPDX-License-Identifier: BSD-2-Clause

// Program random asks a TPM for random bytes, and for the digest of a message, which it compares with its own:
//
//	go build && ./random swtpm:port=2321
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log"
	"os"
)

// TPM is the interface of go-tpm's package transport.
type TPM interface {
	Send(input []byte) ([]byte, error)
}

var _ TPM = (*TCTI)(nil)

// Numbers of TPM 2.0 Library, part 2.
const (
	tagNoSessions = 0x8001
	ccGetRandom   = 0x17b
	ccHash        = 0x17d
	algSHA256     = 0x000b
	rhNull        = 0x40000007
	headerSize    = 10
)

// run sends a command without sessions. It returns the bytes that the response begins with, which their number precedes.
func run(tpm TPM, code uint32, parameters []byte) ([]byte, error) {
	command := binary.BigEndian.AppendUint16(nil, tagNoSessions)
	command = binary.BigEndian.AppendUint32(command, uint32(headerSize+len(parameters)))
	command = binary.BigEndian.AppendUint32(command, code)
	response, err := tpm.Send(append(command, parameters...))
	if err != nil {
		return nil, err
	}
	if rc := binary.BigEndian.Uint32(response[6:headerSize]); rc != 0 {
		return nil, fmt.Errorf("the TPM answers 0x%x", rc)
	}
	if len(response) < headerSize+2 {
		return nil, fmt.Errorf("the response has no parameters")
	}
	size := int(binary.BigEndian.Uint16(response[headerSize:]))
	if len(response) < headerSize+2+size {
		return nil, fmt.Errorf("the response is too short")
	}
	return response[headerSize+2 : headerSize+2+size], nil
}

func getRandom(tpm TPM, count uint16) ([]byte, error) {
	return run(tpm, ccGetRandom, binary.BigEndian.AppendUint16(nil, count))
}

func hash(tpm TPM, message []byte) ([]byte, error) {
	parameters := binary.BigEndian.AppendUint16(nil, uint16(len(message)))
	parameters = append(parameters, message...)
	parameters = binary.BigEndian.AppendUint16(parameters, algSHA256)
	return run(tpm, ccHash, binary.BigEndian.AppendUint32(parameters, rhNull))
}

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
		log.Fatalf("the TPM hashes to %x", digest)
	}
}
