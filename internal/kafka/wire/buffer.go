package wire

import "sync"

const bufferSize = 64 << 10

type buffer = [bufferSize]byte

// buffers holds the buffers of Readers that have bytes and of Writers that
// have small frames pending.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

func getBuffer() *buffer  { return buffers.Get().(*buffer) }
func putBuffer(b *buffer) { buffers.Put(b) }
