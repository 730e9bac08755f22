// SPDX-License-Identifier: BSD-2-Clause

package main

// #cgo pkg-config: tss2-tctildr
// #include <stdlib.h>
// #include <tss2/tss2_tctildr.h>
// // The calls of a TCTI are macros, which cgo cannot call.
// static TSS2_RC transmit(TSS2_TCTI_CONTEXT *tcti, size_t size, const uint8_t *command) {
//     return Tss2_Tcti_Transmit(tcti, size, command);
// }
// static TSS2_RC receive(TSS2_TCTI_CONTEXT *tcti, size_t *size, uint8_t *response) {
//     return Tss2_Tcti_Receive(tcti, size, response, TSS2_TCTI_TIMEOUT_BLOCK);
// }
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// maxResponse is the size in bytes of the largest response of a TPM.
const maxResponse = 4096

// TCTI is a connection to a TPM, opened by the loader. It implements transport.TPMCloser of go-tpm, so every command of
// go-tpm can be executed on it.
type TCTI struct {
	context *C.TSS2_TCTI_CONTEXT
}

// Open connects to the TPM that nameConf names, such as "swtpm:port=2321".
func Open(nameConf string) (*TCTI, error) {
	text := C.CString(nameConf)
	defer C.free(unsafe.Pointer(text))
	tpm := new(TCTI)
	if rc := C.Tss2_TctiLdr_Initialize(text, &tpm.context); rc != C.TSS2_RC_SUCCESS {
		return nil, fmt.Errorf("cannot open %q: 0x%x", nameConf, uint32(rc))
	}
	return tpm, nil
}

// Send sends a command and returns its response.
func (tpm *TCTI) Send(command []byte) ([]byte, error) {
	if len(command) == 0 {
		return nil, errors.New("the command is empty")
	}
	rc := C.transmit(tpm.context, C.size_t(len(command)), (*C.uint8_t)(&command[0]))
	if rc != C.TSS2_RC_SUCCESS {
		return nil, fmt.Errorf("cannot send: 0x%x", uint32(rc))
	}
	response := make([]byte, maxResponse)
	size := C.size_t(len(response))
	rc = C.receive(tpm.context, &size, (*C.uint8_t)(&response[0]))
	if rc != C.TSS2_RC_SUCCESS {
		return nil, fmt.Errorf("cannot receive: 0x%x", uint32(rc))
	}
	return response[:size], nil
}

// Close closes the connection.
func (tpm *TCTI) Close() error {
	C.Tss2_TctiLdr_Finalize(&tpm.context)
	return nil
}
