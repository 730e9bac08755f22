// SPDX-License-Identifier: BSD-2-Clause

//go:build !gotpm

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// TPM restates the interface TPM of go-tpm's package transport, so that the example also builds where go-tpm is not
// available.
type TPM interface {
	Send(input []byte) ([]byte, error)
}

var _ TPM = (*TCTI)(nil)

// Constants of the TPM 2.0 Library, part 2.
const (
	tagNoSessions = 0x8001
	ccGetRandom   = 0x17b
	ccHash        = 0x17d
	algSHA256     = 0x000b
	rhNull        = 0x40000007
	headerSize    = 10
)

// run sends a command without sessions and returns the sized buffer with which the response parameters begin.
func run(tpm TPM, code uint32, parameters []byte) ([]byte, error) {
	command := binary.BigEndian.AppendUint16(nil, tagNoSessions)
	command = binary.BigEndian.AppendUint32(command, uint32(headerSize+len(parameters)))
	command = binary.BigEndian.AppendUint32(command, code)
	response, err := tpm.Send(append(command, parameters...))
	if err != nil {
		return nil, err
	}
	if rc := binary.BigEndian.Uint32(response[6:headerSize]); rc != 0 {
		return nil, fmt.Errorf("the TPM returned response code 0x%x", rc)
	}
	if len(response) < headerSize+2 {
		return nil, errors.New("the response has no parameters")
	}
	size := int(binary.BigEndian.Uint16(response[headerSize:]))
	if len(response) < headerSize+2+size {
		return nil, errors.New("the response is too short")
	}
	return response[headerSize+2 : headerSize+2+size], nil
}

// getRandom returns count random bytes.
func getRandom(tpm TPM, count uint16) ([]byte, error) {
	return run(tpm, ccGetRandom, binary.BigEndian.AppendUint16(nil, count))
}

// hash returns the SHA-256 digest of a message, computed by the TPM.
func hash(tpm TPM, message []byte) ([]byte, error) {
	parameters := binary.BigEndian.AppendUint16(nil, uint16(len(message)))
	parameters = append(parameters, message...)
	parameters = binary.BigEndian.AppendUint16(parameters, algSHA256)
	return run(tpm, ccHash, binary.BigEndian.AppendUint32(parameters, rhNull))
}
