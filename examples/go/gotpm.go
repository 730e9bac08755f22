// SPDX-License-Identifier: BSD-2-Clause

//go:build gotpm

package main

import (
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

var _ transport.TPMCloser = (*TCTI)(nil)

// getRandom returns count random bytes.
func getRandom(tpm transport.TPM, count uint16) ([]byte, error) {
	response, err := tpm2.GetRandom{BytesRequested: count}.Execute(tpm)
	if err != nil {
		return nil, err
	}
	return response.RandomBytes.Buffer, nil
}

// hash returns the SHA-256 digest of a message, computed by the TPM.
func hash(tpm transport.TPM, message []byte) ([]byte, error) {
	response, err := tpm2.Hash{
		Data:      tpm2.TPM2BMaxBuffer{Buffer: message},
		HashAlg:   tpm2.TPMAlgSHA256,
		Hierarchy: tpm2.TPMRHNull,
	}.Execute(tpm)
	if err != nil {
		return nil, err
	}
	return response.OutHash.Buffer, nil
}
