//go:build unix

package host

import "golang.org/x/sys/unix"

// reserve returns n zero bytes that cost no memory until they are touched, nil if there is no room for them in the address space.
func reserve(n uint64) []byte {
	if n == 0 {
		return nil
	}
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil
	}
	return b
}

func unreserve(b []byte) { _ = unix.Munmap(b) }
