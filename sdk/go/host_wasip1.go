package sluice

import (
	"time"
	"unsafe"

	pdk "github.com/extism/go-pdk"
)

// host is the gateway. Its methods are the functions of the ABI; one that a
// module does not use is not linked, so that the module's imports tell what
// it can do.
type host struct{}

//go:wasmimport sluice:batch/1 info
func batchInfo(ptr unsafe.Pointer, size uint32) uint32

//go:wasmimport sluice:batch/1 read
func batchRead(fields, first, count uint32, ptr unsafe.Pointer, size uint32) uint32

//go:wasmimport sluice:batch/1 read_part
func batchReadPart(index, field, offset uint32, ptr unsafe.Pointer, size uint32) uint32

//go:wasmimport sluice:batch/1 write
func batchWrite(ptr unsafe.Pointer, size uint32) uint32

//go:wasmimport sluice:json/1 paths
func jsonPaths(ptr unsafe.Pointer, size uint32) uint32

//go:wasmimport sluice:json/1 get
func jsonGet(list, first, count uint32, ptr unsafe.Pointer, size uint32) uint32

//go:wasmimport sluice:schema/1 find
func schemaFind(doc unsafe.Pointer, docLen uint32, topic unsafe.Pointer, topicLen uint32) int32

//go:wasmimport sluice:schema/1 check
func schemaCheck(schema, first, count uint32, ptr unsafe.Pointer, size uint32) uint32

//go:wasmimport sluice:schema/1 errors
func schemaErrors(schema, index uint32, ptr unsafe.Pointer, size uint32) uint32

// bytesArg returns a slice as the ABI wants it.
func bytesArg(b []byte) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))
}

func stringArg(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

func (host) Info(dst []byte) uint32 {
	return batchInfo(bytesArg(dst))
}

func (host) Read(fields, first, count uint32, dst []byte) uint32 {
	p, n := bytesArg(dst)
	return batchRead(fields, first, count, p, n)
}

func (host) ReadPart(index, field, offset uint32, dst []byte) uint32 {
	p, n := bytesArg(dst)
	return batchReadPart(index, field, offset, p, n)
}

func (host) Write(b []byte) {
	batchWrite(bytesArg(b))
}

func (host) Paths(list []byte) uint32 {
	return jsonPaths(bytesArg(list))
}

func (host) Get(list, first, count uint32, dst []byte) uint32 {
	p, n := bytesArg(dst)
	return jsonGet(list, first, count, p, n)
}

func (host) Find(doc, topic string) int32 {
	d, dn := stringArg(doc)
	t, tn := stringArg(topic)
	return schemaFind(d, dn, t, tn)
}

func (host) Check(schema, first, count uint32, dst []byte) uint32 {
	p, n := bytesArg(dst)
	return schemaCheck(schema, first, count, p, n)
}

func (host) Errors(schema, index uint32, dst []byte) uint32 {
	p, n := bytesArg(dst)
	return schemaErrors(schema, index, p, n)
}

func (host) Now() time.Time { return time.Now() }

func logText(level Level, text string) { pdk.Log(pdk.LogLevel(level), text) }

// instance is the state of this instance of the module.
var instance struct {
	process Process
	batch   Batch
}

// Main does nothing in a gateway, which calls the module's exports.
func Main() {}

//go:wasmexport sluice_abi_v1
func abiMarker() {}

//go:wasmexport sluice_configure
func exportConfigure() uint32 {
	p, output, err := configure(host{}, pdk.Input())
	if err != nil {
		return fail(err)
	}
	if output != nil {
		pdk.Output(output)
	}
	instance.process = p
	return 0
}

//go:wasmexport sluice_process
func exportProcess(records, bytes uint32) uint32 {
	b := &instance.batch
	b.reset(records, bytes)
	err := instance.process(b)
	if err == nil {
		err = b.finish()
	}
	if err != nil {
		return fail(err)
	}
	return 0
}

func fail(err error) uint32 {
	pdk.SetError(err)
	return 1
}
