//go:build unix

package host

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

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

// ownedByUs reports whether a file belongs to the user that the process runs as.
func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(st.Uid) == os.Geteuid()
}
