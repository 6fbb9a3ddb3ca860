//go:build !unix

package host

// reserve returns n zero bytes.
func reserve(n uint64) []byte { return make([]byte, n) }

func unreserve([]byte) {}
